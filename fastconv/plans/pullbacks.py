"""Values and pullbacks: what a plan's vjp gives, an operation a function.

    y, pull = vjp(plan, operands, out)
    dx, dw = pull(dy)                      the transpose of the derivative, applied to the gradient of the result

A pullback keeps the arrays that it needs as they are, without copies.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.borders import folded, with_border
from fastconv.kernels.gradients.activations import activation_gradient, keeps_result
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.arrays import slopes
from fastconv.plans.functions import for_one_call
from fastconv.plans.gradients import InputGradient, convolution_plan, known_pool_plan, known_scatter_plan, narrowed, weights_of
from fastconv.plans.kinds import ConvPlan, ElementwisePlan, IndicesPlan, PoolPlan, UnpoolPlan, Weights
from fastconv.plans.plan import Plan
from fastconv.plans.planning import bias_array, decided
from fastconv.problem import arguments as check
from fastconv.problem.convolutions import IDENTITY, Activation, Array, ConvGeometry, Size
from fastconv.problem.gradients import PoolGradient, ScatterGradient, lifted_axes
from fastconv.problem.pools import PoolGeometry, UnpoolGeometry
from fastconv.problem.problem import Problem
from fastconv.problem.types import summed_in, uniform
from fastconv.problem.windows import ElementwiseGeometry, FoldGeometry

Pull = Callable[[Array, frozenset[str]], dict[str, Array]]


class Pullback:
    """Takes the gradient of a result to the gradients of the operands.

    Attributes
    ----------
    operation : str
        The operation.
    dtypes : dict of str to numpy.dtype
        Of the operands that there are gradients of, in the order of the results.
    shape, dtype
        Of the gradient that it takes: those of the result.
    """

    def __init__(self, plan: Plan, dtypes: dict[str, np.dtype[Any]], pull: Pull) -> None:
        self.operation, self.dtypes, self.shape, self.dtype = plan.operation, dtypes, plan.out_shape, plan.out_dtype
        self._pull = pull

    @property
    def names(self) -> tuple[str, ...]:
        """The operands that there are gradients of."""
        return tuple(self.dtypes)

    def __call__(self, dy: Any, wrt: str | Sequence[str] | None = None) -> Any:
        """The gradients by the operands.

        Parameters
        ----------
        dy : array
            The gradient of the result, of its shape.
        wrt : str or sequence of str, optional
            Operands, of `names`: what is not asked is not computed. All by default.

        Returns
        -------
        array or tuple of arrays
            In the order of `wrt`, each of the shape and dtype of its operand; an array alone for one name, and by default where
            there is one operand.

        Raises
        ------
        ValueError, TypeError
            If `dy` has another shape, is not real, or a name is no operand.
        """
        dy = check.array("dy", dy)
        if dy.shape != self.shape:
            raise ValueError(f"dy must have the shape of the result, {self.shape}, got {dy.shape}")
        dy = check.contiguous(check.cast("dy", dy, self.dtype), summed_in(self.dtype))
        chosen = self.chosen(wrt)
        found = {name: narrowed(array, self.dtypes[name]) for name, array in self._pull(dy, frozenset(chosen)).items()}
        alone = isinstance(wrt, str) or (wrt is None and len(self.names) == 1)
        return found[chosen[0]] if alone else tuple(found[name] for name in chosen)

    def chosen(self, wrt: Any) -> tuple[str, ...]:
        """The operands that `wrt` names."""
        if wrt is None:
            return self.names
        names = (wrt,) if isinstance(wrt, str) else tuple(wrt) if isinstance(wrt, (tuple, list)) else None
        if names is None:
            raise TypeError(f"wrt must be a name or names of {self.names}, got {wrt!r}")
        for name in names:
            if name not in self.names:
                raise ValueError(f"wrt must be some of {self.names}, the operands of this {self.operation}, got {name!r}")
        return names

    def __repr__(self) -> str:
        return f"<pullback of {self.operation}: dy {self.shape} -> {', '.join(self.names)}>"


def check_differentiable(plan: Plan) -> None:
    """Refuse what has no gradients."""
    types = plan.problem.types
    for name, dtype in (("x", types.stored), ("w", types.weights), ("dtype", types.result)):
        if dtype.kind != "f":
            raise TypeError(f"{name} has dtype {dtype}, which is not differentiable: gradients are of real float types")


def vjp(plan: Plan, operands: dict[str, Any], out: Any) -> tuple[Any, Pullback]:
    """(result, pullback) of a plan's call."""
    check_differentiable(plan)
    if isinstance(plan, ConvPlan):
        return convolution(plan, operands, out)
    arrays = {one.name: plan.checked(one, operands[one.name]) for one in plan.operands}
    if isinstance(plan, ElementwisePlan):
        return activation(plan, arrays["x"], out)
    if isinstance(plan, UnpoolPlan):
        y = plan.run(arrays, out, None, {})
        return y, Pullback(plan, {"x": plan.dtype}, partial(unpool_gradient, plan, arrays["indices"]))
    if isinstance(plan, PoolPlan):
        return pool(plan, arrays["x"], out)
    y = plan.run(arrays, out, None, {})
    return y, Pullback(plan, {"x": plan.dtype}, partial(windows_gradient, plan))


# Convolutions ---------------------------------------------------------------------------------------------------------


def convolution(plan: ConvPlan, operands: dict[str, Any], out: Any) -> tuple[Any, Pullback]:
    """A plan's result, and gradients by its weights too."""
    assert plan.weights is not None
    arrays = {one.name: plan.checked(one, operands[one.name]) for one in plan.operands}
    return convolved(plan, arrays, plan.packed, plan.weights, out)


def convolved_once(operation: str, rank: int, arguments: dict[str, Any], options: dict[str, Any]) -> tuple[Any, Pullback]:
    """(result, pullback) of a function's call: its arrays and `out` by name, and its options."""
    x, w, bias, residual, out = (arguments.get(name) for name in ("x", "w", "bias", "residual", "out"))
    plan, packed, arrays, others = for_one_call(operation, rank, x, w, bias, residual, options)
    check_differentiable(plan)
    added, given = bias_array(bias, plan), others.get("bias")
    weights = Weights(others["w"], added, None if given is None else given.dtype)
    y, pull = convolved(plan, arrays, packed, weights, out, once=True)
    if residual is not None:
        pull.dtypes["residual"] = check.native(check.array("residual", residual).dtype)
    return y, pull


def convolved(
    plan: ConvPlan, arrays: dict[str, Array], packed: Any, weights: Weights, out: Any, once: bool = False
) -> tuple[Any, Pullback]:
    """(result, pullback) of a convolution; its gradient by the input is packed for `once`, or for all calls of the plan."""
    geometry: ConvGeometry = plan.geometry
    others = {"w": weights.w} if weights.bias_dtype is None else {"w": weights.w, "bias": weights.bias}
    if keeps_result(geometry.activation):
        y = kept = plan.run(arrays, out, packed, others)
    else:
        kept = bare_plan(plan, weights, once)(arrays["x"].reshape(geometry.x_shape))
        if "residual" in arrays:
            kept += arrays["residual"].reshape(kept.shape)
        y = plan.output(out, arrays, others)
        y[...] = finished(plan, kept.reshape(plan.out_shape))
    dtypes = {"x": arrays["x"].dtype, "w": weights.w.dtype}
    if weights.bias_dtype is not None:
        dtypes["bias"] = weights.bias_dtype
    if "residual" in arrays:
        dtypes["residual"] = arrays["residual"].dtype
    dtypes = {name: check.native(dtype) for name, dtype in dtypes.items()}
    return y, Pullback(plan, dtypes, ConvPull(plan, arrays["x"], weights.w, kept, once))


def bare_plan(plan: ConvPlan, weights: Weights, once: bool) -> ConvPlan:
    """The plan of the sums alone, for an activation whose gradient needs them."""

    def made() -> ConvPlan:
        geometry = replace(plan.geometry, activation=IDENTITY)
        types = plan.problem.types._replace(result=plan.problem.types.summed)
        return convolution_plan(geometry, types, weights.w, weights.bias, once=once)

    return made() if once else kept_in(plan, "_bare", made)


def kept_in(plan: Plan, name: str, made: Callable[[], Any]) -> Any:
    """What a plan has made once, when it was first needed."""
    found = plan.__dict__.get(name)
    if found is None:
        found = plan.__dict__.setdefault(name, made())
    return found


def finished(plan: ConvPlan, sums: Array) -> Array:
    """The activation of sums."""
    geometry = ElementwiseGeometry(sums.shape, plan.geometry.activation)
    found: Array = activation_plan(geometry, sums.dtype)(sums)
    return found


@remembered
def activation_plan(geometry: ElementwiseGeometry, dtype: np.dtype[Any]) -> ElementwisePlan:
    """The plan of an activation on its own."""
    problem = Problem(geometry, uniform(dtype))
    return decided(ElementwisePlan, "activation", problem, "auto", {"x": (geometry.shape, dtype)}, geometry.shape)


class ConvPull:
    """The gradients of one convolution by what is asked."""

    def __init__(self, plan: ConvPlan, x: Array, w: Array, kept: Array, once: bool) -> None:
        self.plan, self.x, self.w, self.kept, self.once = plan, x, w, kept, once

    def __call__(self, dy: Array, wrt: frozenset[str]) -> dict[str, Array]:
        plan, geometry = self.plan, self.plan.geometry
        dz = dy = dy.reshape(geometry.out_shape)
        if geometry.activation != IDENTITY:
            kept = check.contiguous(self.kept, dy.dtype).reshape(geometry.out_shape)
            dz = gradient_before(dy, kept, geometry.activation)
        found: dict[str, Array] = {}
        if "x" in wrt:
            found["x"] = self.input_gradient()(dz).reshape(plan.x_shape)
        if "w" in wrt:
            w_dtype = check.native(self.w.dtype)
            found["w"] = weights_of(geometry, self.x.reshape(geometry.x_shape), dz, plan.problem.types.summed, w_dtype)
        if "bias" in wrt:
            found["bias"] = channel_sums(dz, geometry.channels_last)
        if "residual" in wrt:
            found["residual"] = (dz.copy() if dz is dy else dz).reshape(plan.out_shape)
        return found

    def input_gradient(self) -> InputGradient:
        """Packed for this call, or once for all calls of the plan."""

        def made() -> InputGradient:
            types = self.plan.problem.types
            return InputGradient.of(self.plan.geometry, self.w, types.summed, types.stored, self.once)

        found: InputGradient = made() if self.once else kept_in(self.plan, "_backward", made)
        return found


def channel_sums(dz: Array, channels_last: bool) -> Array:
    """The sum of each channel over images and positions: over images first, in their order."""
    if channels_last:
        return dz.reshape(-1, dz.shape[-1]).sum(axis=0)
    sums: Array = dz.reshape(dz.shape[0], prod(dz.shape[1:])).sum(axis=0).reshape(dz.shape[1], -1).sum(axis=1)
    return sums


# Pools ----------------------------------------------------------------------------------------------------------------


def pool(plan: PoolPlan, x: Array, out: Any) -> tuple[Any, Pullback]:
    """A pool's result; the gradient of one that looks for a cell of a window goes to the cells whose indices it finds."""
    g: PoolGeometry = plan.geometry
    if g.kind in ("max", "min", "rank"):
        return best(plan, x, out)
    y = plan.run({"x": x}, out, None, {})
    if g.kind == "avg":
        return y, Pullback(plan, {"x": plan.dtype}, partial(average_gradient, plan))
    return y, Pullback(plan, {"x": plan.dtype}, partial(norm_gradient, plan, x, y))


@remembered
def indices_plan(geometry: PoolGeometry, dtype: np.dtype[Any]) -> IndicesPlan:
    """The plan of a pool that finds indices too, of batched arrays."""
    problem = Problem(replace(geometry, return_indices=True), uniform(dtype))
    shapes = {"x": (geometry.x_shape, dtype)}
    return decided(IndicesPlan, f"{geometry.operation}{geometry.rank}d", problem, "auto", shapes, geometry.out_shape)


def best(plan: PoolPlan, x: Array, out: Any) -> tuple[Any, Pullback]:
    """The result of a pool that looks for one cell, values alone or with indices as the plan has it."""
    g: PoolGeometry = plan.geometry
    if isinstance(plan, IndicesPlan):
        found = plan.run({"x": x}, out, None, {})
        return found, Pullback(plan, {"x": plan.dtype}, partial(index_gradient, plan, plan.geometry, found[1].copy()))
    seen = g if g.border is None else g.without_border
    image = x.reshape(g.x_shape) if g.border is None else padded(x.reshape(g.x_shape), g)
    values, indices = indices_plan(seen, plan.problem.types.stored)(image)
    y = plan.output(out, {"x": x}, {})
    if out is None:
        y = values.reshape(plan.out_shape)
    else:
        y[...] = values.reshape(plan.out_shape)
    return y, Pullback(plan, {"x": plan.dtype}, partial(index_gradient, plan, seen, indices))


def padded(x: Array, g: PoolGeometry) -> Array:
    """A pool's input with the cells of its border, in the geometry's layout."""
    assert g.border is not None
    found = with_border(g.channels_first(x), g.reach, g.border)
    return np.ascontiguousarray(np.moveaxis(found, 1, -1) if g.channels_last else found)


def unbordered(dx: Array, g: PoolGeometry, seen: PoolGeometry) -> Array:
    """The gradient of the input, of that of the input with its border."""
    if g.border is None or seen is g or seen == g:
        return dx
    return folded(dx, g.reach, g.border, 1 if g.channels_last else 2)


def index_gradient(plan: Plan, seen: PoolGeometry, indices: Array, dy: Array, wrt: frozenset[str]) -> dict[str, Array]:
    """dx by indices, in `seen`, the pool itself or one of its input with a border."""
    g: PoolGeometry = plan.geometry
    scatter = ScatterGradient(g.batch, g.channels, seen.in_size, g.out_size, g.channels_last, lifted_axes(seen))
    if not prod(g.out_shape) or not prod(scatter.out_shape):
        return {"x": np.zeros(plan.x_shape, dy.dtype)}
    dx = known_scatter_plan(scatter, dy.dtype)(dy.reshape(g.out_shape), indices.reshape(g.out_shape))
    return {"x": unbordered(dx, g, seen).reshape(plan.x_shape)}


def without_border(g: PoolGeometry) -> PoolGeometry:
    """The pool itself, or that of its input with its border."""
    return g if g.border is None else g.without_border


def average_gradient(plan: Plan, dy: Array, wrt: frozenset[str]) -> dict[str, Array]:
    """Dx of an average."""
    g: PoolGeometry = plan.geometry
    seen = without_border(g)
    if not prod(g.out_shape) or not prod(seen.x_shape):
        return {"x": np.zeros(plan.x_shape, dy.dtype)}
    dx = known_pool_plan(PoolGradient(seen), dy.dtype)(dy.reshape(g.out_shape))
    return {"x": unbordered(dx, g, seen).reshape(plan.x_shape)}


def norm_gradient(plan: Plan, x: Array, y: Array, dy: Array, wrt: frozenset[str]) -> dict[str, Array]:
    """Dx of a norm, which its result and its input decide."""
    g: PoolGeometry = plan.geometry
    seen = without_border(g)
    if not prod(g.out_shape) or not prod(seen.x_shape):
        return {"x": np.zeros(plan.x_shape, dy.dtype)}
    image, norms = (check.contiguous(array, dy.dtype) for array in (x, y))
    image = image.reshape(g.x_shape) if g.border is None else padded(image.reshape(g.x_shape), g)
    dx = known_pool_plan(PoolGradient(seen), dy.dtype)(image, norms.reshape(g.out_shape), dy.reshape(g.out_shape))
    return {"x": unbordered(dx, g, seen).reshape(plan.x_shape)}


# Unpools, windows, activations ------------------------------------------------------------------------------------------


def unpool_gradient(plan: Plan, indices: Array, dy: Array, wrt: frozenset[str]) -> dict[str, Array]:
    """dx[position] = dy[index], where no later value of the same index has taken its place."""
    g: UnpoolGeometry = plan.geometry
    planes: Size = (g.batch, g.channels, -1)
    where = g.channels_first(indices.reshape(g.x_shape)).reshape(planes).astype(np.intp)
    values = g.channels_first(dy.reshape(g.out_shape)).reshape(planes)
    dx = np.take_along_axis(values, where, axis=2) if where.size else np.zeros(where.shape, dy.dtype)
    order = np.broadcast_to(np.arange(where.shape[2]), where.shape)
    last = np.zeros(values.shape, np.intp)
    if where.size:
        np.put_along_axis(last, where, order, axis=2)
        dx[np.take_along_axis(last, where, axis=2) != order] = 0
    dx = dx.reshape(g.batch, g.channels, *g.in_size)
    dx = np.moveaxis(dx, 1, -1) if g.channels_last else dx
    return {"x": dx.reshape(plan.x_shape)}


@remembered
def windows_plan(geometry: FoldGeometry, dtype: np.dtype[Any]) -> Plan:
    """The plan of an unfold or a fold, of batched arrays."""
    shapes = {"x": (geometry.x_shape, dtype)}
    return decided(Plan, geometry.operation, Problem(geometry, uniform(dtype)), "auto", shapes, geometry.out_shape)


def windows_gradient(plan: Plan, dy: Array, wrt: frozenset[str]) -> dict[str, Array]:
    """The gradient of an unfold is a fold, and of a fold an unfold."""
    g: FoldGeometry = plan.geometry
    other = replace(g, operation="fold" if g.operation == "unfold" else "unfold")
    dx = windows_plan(other, dy.dtype)(dy.reshape(g.out_shape))
    return {"x": dx.reshape(plan.x_shape)}


def gradient_before(dy: Array, value: Array, kind: Activation, bounds: bool = False) -> Array:
    """The gradient before an activation, of the value before it, or of the result where that suffices."""
    if kind.kind in slopes.CYCLES:
        return slopes.activation_gradient(dy, value, kind.kind)
    return activation_gradient(dy, value, kind, bounds)


def activation(plan: Plan, x: Array, out: Any) -> tuple[Any, Pullback]:
    """An activation's result; its gradient keeps x, which may not be written over, or the result where that suffices."""
    kind = plan.geometry.activation
    from_result = plan.operation != "clip" and keeps_result(kind)
    if not from_result and out is not None and np.may_share_memory(out, x):
        x = x.copy()
    y = plan.run({"x": x}, out, None, {})
    kept = y if from_result else x

    def pull(dy: Array, wrt: frozenset[str]) -> dict[str, Array]:
        value = check.contiguous(kept, dy.dtype)
        dx = gradient_before(dy, value, kind, bounds=plan.operation == "clip")
        return {"x": dx.copy() if dx is dy else dx}

    return y, Pullback(plan, {"x": plan.dtype}, pull)
