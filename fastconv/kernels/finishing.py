"""What an implementation left out: y = act(y + residual), in a pass of its own."""

import numpy as np

from fastconv.kernels.activations import activated, codes
from fastconv.kernels.jit import Kernel
from fastconv.problem.convolutions import Activation, Array

COST = 4  # operations an element


@Kernel
def finished(begin, end, y, residual, act):
    """y[i] = act(y[i] + residual[i]); an empty residual adds nothing"""
    for i in range(begin, end):
        if len(residual):
            y[i] += residual[i]
        y[i] = activated(y[i], act[0], act[1], act[2])


def finish(y: Array, residual: Array | None, activation: Activation) -> None:
    """In place; y and the residual are C-contiguous and of one dtype."""
    flat = np.empty(0, y.dtype) if residual is None else residual.reshape(-1)
    finished(y.size, COST * y.size, y.reshape(-1), flat, codes(activation, y.dtype))
