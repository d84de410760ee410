"""Operations for JAX: fastconv's convolutions, pools and activations on the CPU, through `jit`, `grad` and `vmap`.

    import jax
    from fastconv import jax as fj

    loss = lambda w: (fj.conv2d(image, w, activation="relu") ** 2).sum()
    jax.jit(jax.grad(loss))(w)

Each has the arguments of the operation of its name, without `out` and `return_indices`; only arrays may be traced. JAX calls
back into Python to compute (`jax.pure_callback`), with a custom derivative (`jax.custom_vjp`), so that the reverse mode works
and forward mode does not, nor do gradients of gradients. Under `vmap` calls are made one by one.

Examples
--------
>>> import jax, numpy
>>> from fastconv.jax import conv1d
>>> x, w = numpy.array([[1.0, 2.0, 3.0]], numpy.float32), numpy.ones((1, 1, 2), numpy.float32)
>>> jax.jit(jax.grad(lambda w: conv1d(x, w).sum()))(w).tolist()
[[[3.0, 5.0]]]
"""

from functools import lru_cache
from typing import Any

import numpy as np

import fastconv as api
from fastconv.operations.differentiable import NAMES, split

try:
    import jax
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('jax is not installed: pip install "fastconv[jax]"', name="jax") from error

__all__ = list(NAMES)

Options = tuple[tuple[str, Any], ...]


def _frozen(value: Any) -> Any:
    """Lists as tuples, so that options can be looked up."""
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


@lru_cache(maxsize=256)
def _function(name: str, names: tuple[str, ...], options: Options) -> Any:
    """The operation with its options, of arrays alone, with a derivative of its own."""
    operation, given = getattr(api, name), dict(options)

    def bound(arrays: Any) -> dict[str, Any]:
        return dict(zip(names, map(np.asarray, arrays), strict=True))

    def compute(*arrays: Any) -> Any:
        return np.asarray(operation(**bound(arrays), **given))

    def pull(dy: Any, *arrays: Any) -> Any:
        _, pullback = operation.vjp(**bound(arrays), **given)
        return tuple(map(np.asarray, pullback(np.asarray(dy), wrt=list(names))))

    def shaped(arrays: Any) -> Any:
        """Shape and dtype of the result, from a plan that computes nothing."""
        kinds = {key: np.broadcast_to(np.zeros((), array.dtype), array.shape) for key, array in zip(names, arrays, strict=True)}
        x = kinds.pop("x")
        if kinds.pop("residual", None) is not None:
            kinds["residual"] = True  # type: ignore[assignment]
        plan = operation.plan(x.shape, **kinds, **given, x_dtype=x.dtype)
        return jax.ShapeDtypeStruct(plan.out_shape, plan.out_dtype)

    @jax.custom_vjp  # type: ignore[untyped-decorator]
    def call(*arrays: Any) -> Any:
        return jax.pure_callback(compute, shaped(arrays), *arrays, vmap_method="sequential")

    def forward(*arrays: Any) -> Any:
        return call(*arrays), arrays

    def backward(arrays: Any, dy: Any) -> Any:
        kinds = tuple(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays)
        return jax.pure_callback(pull, kinds, dy, *arrays, vmap_method="sequential")

    call.defvjp(forward, backward)
    return call


def _wrapped(name: str) -> Any:
    """The operation of a name as a function of JAX's arrays."""
    operation = getattr(api, name)

    def call(*arguments: Any, **options: Any) -> Any:
        names, arrays, given = split(operation, __name__, arguments, options)
        frozen = tuple((key, _frozen(value)) for key, value in given.items())
        return _function(name, names, frozen)(*map(jax.numpy.asarray, arrays))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"fastconv.{name} of JAX's arrays, differentiable.\n\n{operation.__doc__}"
    call.__signature__ = operation.signature  # type: ignore[attr-defined]
    return call


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = _wrapped(name)
    return found
