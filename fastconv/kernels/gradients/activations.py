"""Gradients of activations, from the value before them or, where that suffices, from the result.

clip         dy where low < v < high, else 0          v may be the result; relu is a clip at 0 and infinity
bounds       dy where low <= v <= high, else 0        v is the value before: at a bound itself the gradient passes
leaky_relu   dy where v > 0, else slope * dy          v may be the result of a slope that is not negative
silu         dy * s * (1 + v * (1 - s))               s = 1 / (1 + exp(-v))
hardswish    0 at v <= -3, dy at v >= 3, else dy * (v / 3 + 1 / 2)
gelu         dy * (erfc(-v / sqrt(2)) / 2 + v * exp(-v**2 / 2) / sqrt(2 pi))
"""

import math

import numpy as np

from fastconv.kernels.activations import KINDS
from fastconv.kernels.jit import Kernel
from fastconv.problem.convolutions import Activation, Array

BOUNDS = len(KINDS)  # the code of a clip whose bounds pass
FROM_THE_RESULT = ("none", "clip", "leaky_relu")
COST = {"silu": 40, "gelu": 60, "hardswish": 6}


@Kernel
def backward(begin, end, dy, value, dx, act, numbers):
    """dx[i] = dy[i] * the activation's derivative at value[i]; a loop a kind"""
    kind, low, high = act
    zero, half, one, three, density = numbers
    root = np.sqrt(half)
    if kind == 1:
        for i in range(begin, end):
            dx[i] = zero if value[i] <= low or value[i] >= high else dy[i]
    elif kind == 6:
        for i in range(begin, end):
            dx[i] = dy[i] if value[i] >= low and value[i] <= high else zero
    elif kind == 2:
        for i in range(begin, end):
            dx[i] = dy[i] if value[i] > zero else low * dy[i]
    elif kind == 3:
        for i in range(begin, end):
            share = one / (one + np.exp(-value[i]))
            dx[i] = dy[i] * (share * (one + value[i] * (one - share)))
    elif kind == 4:
        for i in range(begin, end):
            v = value[i]
            dx[i] = zero if v <= -three else dy[i] if v >= three else dy[i] * (v / three + half)
    else:
        for i in range(begin, end):
            v = value[i]
            dx[i] = dy[i] * (half * math.erfc(-v * root) + v * np.exp(-v * v * half) * density)


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
    numbers = tuple(map(dy.dtype.type, (0, 0.5, 1, 3, 1 / math.sqrt(2 * math.pi))))
    work = COST.get(activation.kind, 1) * dx.size
    backward(dx.size, work, dy.reshape(-1), value.reshape(-1), dx.reshape(-1), act, numbers)
    return dx
