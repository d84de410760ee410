"""Gradients of activations, from the value before them or, where that suffices, from the result.

dx of each kind, of dy and a value v:

    clip         dy where low < v < high, else 0          v may be the result; relu is a clip at 0 and infinity
    bounds       dy where low <= v <= high, else 0        v is the value before: at a bound itself the gradient passes
    leaky_relu   dy where v > 0, else slope * dy          v may be the result of a slope that is not negative
    hardswish    0 at v <= -3, dy at v >= 3, else dy * (v / 3 + 1 / 2)

Those of silu and gelu are in kernels/simd/arrays/slopes.py.
"""

import numpy as np

from fastconv.kernels.activations import KINDS
from fastconv.kernels.jit import Kernel
from fastconv.problem.convolutions import Activation, Array

BOUNDS = len(KINDS)  # the code of a clip whose bounds pass
FROM_THE_RESULT = ("none", "clip", "leaky_relu")
COST = {"hardswish": 2}


@Kernel
def backward(begin, end, dy, value, dx, act, numbers):
    """dx[i] = dy[i] * the activation's derivative at value[i]. A loop a kind"""
    kind, low, high = act
    zero, half, three = numbers
    dy, value, dx = dy[begin:end], value[begin:end], dx[begin:end]  # indices from 0 on: the loops become vectors
    if kind == 1:
        for i in range(len(dx)):
            dx[i] = zero if value[i] <= low or value[i] >= high else dy[i]
    elif kind == 6:
        for i in range(len(dx)):
            dx[i] = dy[i] if value[i] >= low and value[i] <= high else zero
    elif kind == 2:
        for i in range(len(dx)):
            dx[i] = dy[i] if value[i] > zero else low * dy[i]
    else:
        for i in range(len(dx)):
            v = value[i]
            slope = v / three + half
            dx[i] = zero if v <= -three else dy[i] if v >= three else dy[i] * slope


def keeps_result(activation: Activation) -> bool:
    """Whether the result is all that the gradient needs."""
    return activation.kind in FROM_THE_RESULT and not (activation.kind == "leaky_relu" and activation.low < 0)


def activation_gradient(dy: Array, value: Array, activation: Activation, bounds: bool = False) -> Array:
    """The gradient before an activation; arrays are C-contiguous, of one float type. `bounds`: a clip's own bounds pass."""
    if activation.kind == "none":
        return dy
    code = BOUNDS if bounds and activation.kind == "clip" else KINDS.index(activation.kind)
    dx = np.empty(dy.shape, dy.dtype)
    act = code, dy.dtype.type(activation.low), dy.dtype.type(activation.high)
    numbers = tuple(map(dy.dtype.type, (0, 0.5, 3)))
    work = COST.get(activation.kind, 1) * dx.size
    backward(dx.size, work, dy.reshape(-1), value.reshape(-1), dx.reshape(-1), act, numbers)
    return dx
