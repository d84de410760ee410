"""Operations for HIPS autograd: fastconv's convolutions, pools and activations as primitives that `autograd.grad` sees through.

    import autograd.numpy as np
    from autograd import grad
    from fastconv import autograd as fa

    loss = lambda w: np.sum(fa.conv2d(image, w, activation="relu") ** 2)
    grad(loss)(w)

Each has the arguments of the operation of its name, without `out` and `return_indices`; arrays by position, or by name. A call
inside of a derivative keeps the pullback, so that the backward pass repeats nothing. Gradients of gradients are not served.

Examples
--------
>>> import numpy
>>> from autograd import grad
>>> from fastconv.autograd import conv1d
>>> w = numpy.ones((1, 1, 2))
>>> grad(lambda w: conv1d(numpy.array([[1.0, 2.0, 3.0]]), w).sum())(w)
array([[[3., 5.]]])
"""

from typing import Any

import fastconv as api
from fastconv.operations.differentiable import NAMES, split

try:
    from autograd.extend import Box, defvjp, primitive
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('autograd is not installed: pip install "fastconv[autograd]"', name="autograd") from error

__all__ = list(NAMES)


def _wrapped(name: str) -> Any:
    """The operation of a name as a function that autograd sees through."""
    operation = getattr(api, name)

    def call(*arguments: Any, **options: Any) -> Any:
        names, arrays, given = split(operation, __name__, arguments, options)
        if not any(isinstance(array, Box) for array in arrays):
            return operation(**dict(zip(names, arrays, strict=True)), **given)
        pulls: list[Any] = []

        @primitive  # type: ignore[untyped-decorator]
        def value(*plain: Any) -> Any:
            y, pull = operation.vjp(**dict(zip(names, plain, strict=True)), **given)
            pulls.append(pull)
            return y

        def gradient(place: int) -> Any:
            return lambda y, *plain: lambda dy: pulls[0](_plain(name, dy), names[place])

        defvjp(value, *map(gradient, range(len(names))))
        return value(*arrays)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"fastconv.{name}, differentiable by autograd.\n\n{operation.__doc__}"
    call.__signature__ = operation.signature  # type: ignore[attr-defined]
    return call


def _plain(name: str, dy: Any) -> Any:
    """A gradient that nothing is differentiated by."""
    if isinstance(dy, Box):
        raise TypeError(f"the gradient of {name} has no gradient of its own in fastconv.autograd")
    return dy


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = _wrapped(name)
    return found
