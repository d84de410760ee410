"""Plans of gradients: by the weights of a convolution, by the input of a convolution or a pool.

The operations of fastconv.grad and the pullbacks of all operations are made of these.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.borders import folded
from fastconv.kernels.gradients import weights as mirror
from fastconv.kernels.keeping import remembered
from fastconv.machine import host
from fastconv.plans.dispatch import estimate
from fastconv.plans.kinds import ConvPlan, UnpoolPlan
from fastconv.plans.plan import Operand, Plan
from fastconv.plans.planning import bias_array, decided, unbatched
from fastconv.problem import arguments as check
from fastconv.problem import gradient_signatures as signatures
from fastconv.problem.convolutions import Array, ConvGeometry, Size
from fastconv.problem.gradients import (
    PoolGradient,
    ScatterGradient,
    WeightGradient,
    has_copies,
    input_gradient,
    mirrored,
    weight_gradient,
)
from fastconv.problem.problem import Problem
from fastconv.problem.types import Types, summed_in, uniform

Dtype = np.dtype[Any]
INT64 = np.dtype(np.int64)
KINDS = {1: "1d", 2: "2d", 3: "3d"}


@dataclass(frozen=True, eq=False, repr=False)
class ScatterPlan(UnpoolPlan):
    """A plan of a max pool's gradient by its input: called with the gradient and the indices of the pool."""

    def checked(self, one: Operand, value: Any) -> Array:
        """The gradient; or indices of any integer type, which must lie in the input."""
        if one.name != "indices":
            return Plan.checked(self, one, value)
        return super().checked(one, value)


@dataclass(frozen=True, eq=False, repr=False)
class TrustedScatterPlan(Plan):
    """The same for indices that the pool has just given."""


def differentiable(name: str, dtype: Any) -> Dtype:
    """A dtype that has gradients."""
    found = check.dtype(name, np.float32 if dtype is None else dtype)
    if found.kind != "f":
        raise TypeError(f"{name} has dtype {found}, which is not differentiable: gradients are of real float types")
    return found


known_input_gradient, known_weight_gradient = remembered(input_gradient), remembered(weight_gradient)

# Convolutions ---------------------------------------------------------------------------------------------------------


def build_weight_gradient(
    operation: str,
    rank: int,
    x_shape: Any,
    x_dtype: Any,
    dy_dtype: Any,
    *,
    weight_size: Any,
    dtype: Any = None,
    implementation: Any = "auto",
    **options: Any,
) -> Plan:
    """The plan of conv{rank}d_weight."""
    stored = differentiable("x_dtype", x_dtype)
    given = stored if dy_dtype is None else differentiable("grad_output", dy_dtype)
    result = differentiable("dtype", check.result_dtype(np.result_type(stored, given), dtype))
    shape = check.shape("x_shape", x_shape)
    with signatures.told_as(x="input"):
        full, single = check.batched("x", shape, rank)
    geometry = signatures.weight_gradient(full, weight_size, result, rank=rank, **options)
    types = Types(stored, given, summed_in(result), result)
    return weight_plan(operation, geometry, types, implementation, single)


def weight_plan(
    operation: str, geometry: WeightGradient, types: Types, implementation: Any = "auto", single: bool = False
) -> Plan:
    """The plan of a gradient by weights: called with x and dy."""
    shapes = {
        "x": (unbatched(geometry.x_shape, single), types.stored),
        "dy": (unbatched(geometry.dy_shape, single), types.weights),
    }
    return decided(Plan, operation, Problem(geometry, types), implementation, shapes, geometry.out_shape)


@remembered
def known_weight_plan(geometry: WeightGradient, types: Types) -> Plan:
    """The plan of a gradient by weights, whatever takes it."""
    return weight_plan(f"conv{KINDS[geometry.rank]}_weight", geometry, types)


@remembered
def unpacked_plan(geometry: ConvGeometry, types: Types, implementation: str, for_one_call: bool) -> ConvPlan:
    """The plan of a convolution of batched arrays, but for its weights."""
    operation = f"{geometry.operation}{KINDS[geometry.rank]}"
    shapes = {"x": (geometry.x_shape, types.stored)}
    return decided(ConvPlan, operation, Problem(geometry, types), implementation, shapes, geometry.out_shape, for_one_call)


def convolution_plan(geometry: ConvGeometry, types: Types, w: Array, bias: Array, once: bool = False) -> ConvPlan:
    """The plan of a convolution of a known geometry, its weights packed for one call, or for many."""
    found = unpacked_plan(geometry, types, "auto", once)
    return replace(found, packed=found.packing(found.seen_weights(w), bias_array(bias, found)))


@remembered
def backward_choice(
    geometry: ConvGeometry, types: Types, name: str, once: bool, weights: int
) -> tuple[ConvPlan, ConvGeometry | None]:
    """(what serves the convolution of dy that gives dx, as a plan but for its weights; its geometry where they are mirrored).

    Of stride 1 it is a plain one where that is estimated to be cheaper: what serves plain convolutions alone, Winograd above
    all, then serves the gradient too. `weights`: how many there are.
    """
    given = unpacked_plan(geometry, types, name, once)
    plain = mirrored(geometry) if name == "auto" and types.weights != np.float16 else None
    if plain is None:
        return given, None
    other = unpacked_plan(plain, types, name, once)
    seconds = weights * mirror.SECONDS if once else 0.0
    return (other, plain) if seconds_of(other, once) + seconds < seconds_of(given, once) else (given, None)


def backward_plan(geometry: ConvGeometry, types: Types, w: Array, name: str, once: bool) -> ConvPlan:
    """The plan of the convolution of dy that gives dx, its weights packed."""
    given, plain = backward_choice(geometry, types, name, once, w.size)
    if plain is not None:
        w = mirror.mirrored_weights(w, geometry, plain.w_shape)
    return replace(given, packed=given.packing(given.seen_weights(w), bias_array(None, given)))


def seconds_of(plan: ConvPlan, once: bool) -> float:
    """The estimate by which a plan was chosen."""
    return estimate(plan.implementation, plan.seen, host(), once) + plan.form.cost(host(), once)


def forward_of(
    rank: int, input_size: Any, w: Array, dy_shape: Any, result: Dtype, options: dict[str, Any]
) -> tuple[ConvGeometry, bool]:
    """(the convolution whose result has the shape of dy, whether that came without a batch axis)."""
    full, single = check.batched("grad_output", check.shape("grad_output", dy_shape), rank)
    size = signatures.full_size("input_size", input_size, rank, single)
    forward = signatures.convolution(size, w.shape, result, rank=rank, **options)
    if forward.out_shape != full:
        wanted = unbatched(forward.out_shape, single)
        raise ValueError(f"grad_output must have the shape of the convolution's result, {wanted}, got {tuple(dy_shape)}")
    return forward, single


def build_input_gradient(
    rank: int, x_shape: Any, x_dtype: Any, w: Array, *, input_size: Any, implementation: Any = "auto", **options: Any
) -> ConvPlan:
    """The plan of conv{rank}d_input: a transposed convolution, its weights packed."""
    dtype = check.native(w.dtype) if x_dtype is None else differentiable("x_dtype", x_dtype)
    result = np.result_type(dtype, w.dtype)
    forward, single = forward_of(rank, input_size, w, x_shape, result, options)
    if has_copies(forward):
        raise ValueError(f"padding_mode must be 'zeros' or 'constant' for a plan, got {forward.border.mode!r}")
    types = Types(dtype, check.native(w.dtype), summed_in(result), result)
    geometry = input_gradient(forward)
    shapes = {"x": (unbatched(geometry.x_shape, single), dtype)}
    out_shape = unbatched(geometry.out_shape, single)
    operation = f"conv_transpose{KINDS[rank]}"
    found = decided(ConvPlan, operation, Problem(geometry, types), implementation, shapes, out_shape)
    return replace(found, packed=found.packing(found.seen_weights(w.copy()), bias_array(None, found)))


def input_gradient_of(rank: int, input_size: Any, w: Array, dy: Array, out: Any, options: dict[str, Any]) -> Array:
    """conv{rank}d_input: a plan made and called once."""
    name = options.pop("implementation", "auto")
    result = np.result_type(dy.dtype, w.dtype)
    forward, single = forward_of(rank, input_size, w, dy.shape, result, options)
    gradient = InputGradient.of(forward, w, check.native(dy.dtype), result, once=True, name=name)
    out_shape = unbatched(forward.x_shape, single)
    y = None if out is None else check.output(out, out_shape, result, {"weight": w, "grad_output": dy})
    found = gradient(dy.reshape(forward.out_shape)).reshape(out_shape)
    if y is None:
        return found
    y[...] = found
    return y


@dataclass(frozen=True)
class InputGradient:
    """The gradient of a convolution by its input: a convolution of dy the other way, and what is left of borders.

    Attributes
    ----------
    forward : ConvGeometry
        The convolution, or transposed convolution.
    plan : ConvPlan or None
        Of the convolution of dy, its weights packed; None where there is nothing to sum.
    dtype : numpy.dtype
        Of the gradient.
    """

    forward: ConvGeometry
    plan: ConvPlan | None
    dtype: Dtype

    @classmethod
    def of(
        cls, forward: ConvGeometry, w: Array, dy_dtype: Dtype, dtype: Dtype, once: bool, name: str = "auto"
    ) -> "InputGradient":
        """With weights packed for one call, or for many."""
        backward = known_input_gradient(forward)
        if not prod(forward.x_shape) or not prod(forward.out_shape):
            return cls(forward, None, dtype)
        result = np.result_type(dy_dtype, w.dtype)
        types = Types(dy_dtype, check.native(w.dtype), summed_in(result), result)
        return cls(forward, backward_plan(backward, types, w, name, once), dtype)

    def __call__(self, dy: Array) -> Array:
        """dx of a dy that has a batch axis."""
        g = self.forward
        if self.plan is None:
            return np.zeros(g.x_shape, self.dtype)
        backward: ConvGeometry = self.plan.geometry
        if g.transposed:
            dy = cropped(dy, g, backward.in_size)
            found = self.plan(dy)
            return narrowed(cropped(found, g, g.in_size), self.dtype)
        found = self.plan(dy)
        if has_copies(g):
            found = folded(found, g.padding, g.border, 1 if g.channels_last else 2)
        return narrowed(found, self.dtype)


def cropped(array: Array, geometry: ConvGeometry, size: Size) -> Array:
    """The first cells of each spatial axis."""
    if not geometry.channels_last:
        return array[(slice(None), slice(None), *map(slice, size))]
    return array[(slice(None), *map(slice, size))]


def narrowed(array: Array, dtype: Dtype) -> Array:
    """An array in C order, in another float type."""
    if array.dtype == dtype and array.flags.c_contiguous:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(array, dtype)


def weights_of(forward: ConvGeometry, x: Array, dy: Array, summed: Dtype, dtype: Dtype) -> Array:
    """dw of batched arrays: x and dy, which change places where the convolution is transposed."""
    geometry = known_weight_gradient(forward)
    if not prod(geometry.x_shape) or not prod(geometry.dy_shape):
        return np.zeros(forward.w_shape, dtype)
    if forward.transposed:
        x, dy = cropped(dy, forward, geometry.forward.in_size), x
    plan = known_weight_plan(geometry, Types(check.native(x.dtype), check.native(dy.dtype), summed, dtype))
    found: Array = plan(x, dy)
    return found


# Pools ----------------------------------------------------------------------------------------------------------------


def build_scatter(
    operation: str, rank: int, x_shape: Any, x_dtype: Any, *, input_size: Any, implementation: Any = "auto", layout: Any = None
) -> Plan:
    """The plan of max_pool{rank}d_input."""
    dtype = differentiable("x_dtype", x_dtype)
    full, single = check.batched("grad_output", check.shape("x_shape", x_shape), rank)
    size = signatures.full_size("input_size", input_size, rank, single)
    geometry = signatures.scatter(full, size, rank=rank, layout=layout)
    return scatter_plan(operation, geometry, dtype, implementation, single, ScatterPlan)


def scatter_plan(
    operation: str,
    geometry: ScatterGradient,
    dtype: Dtype,
    implementation: Any = "auto",
    single: bool = False,
    kind: type[Plan] = TrustedScatterPlan,
) -> Plan:
    """The plan of a gradient by indices: called with dy and the indices."""
    shape = unbatched(geometry.dy_shape, single)
    shapes = {"dy": (shape, dtype), "indices": (shape, INT64)}
    out_shape = unbatched(geometry.out_shape, single)
    return decided(kind, operation, Problem(geometry, uniform(dtype)), implementation, shapes, out_shape)


def build_pool_gradient(
    operation: str,
    rank: int,
    x_shape: Any,
    x_dtype: Any,
    *,
    kind: str,
    input_size: Any,
    implementation: Any = "auto",
    **options: Any,
) -> Plan:
    """The plan of avg_pool{rank}d_input or lp_pool{rank}d_input; `x_shape` is that of the pool's result."""
    dtype = differentiable("x_dtype", x_dtype)
    full, single = check.batched("grad_output", check.shape("x_shape", x_shape), rank)
    size = signatures.full_size("input_size", input_size, rank, single)
    geometry = signatures.pool(kind, full, size, dtype, rank=rank, **options)
    return pool_plan(operation, geometry, dtype, implementation, single)


def pool_plan(operation: str, geometry: PoolGradient, dtype: Dtype, implementation: Any = "auto", single: bool = False) -> Plan:
    """The plan of the gradient of an average, called with dy; or of a norm, called with x, y and dy."""
    pooled = unbatched(geometry.dy_shape, single)
    shapes = {"dy": (pooled, dtype)}
    if geometry.forward.kind == "lp":
        shapes = {"x": (unbatched(geometry.x_shape, single), dtype), "y": (pooled, dtype), **shapes}
    out_shape = unbatched(geometry.out_shape, single)
    return decided(Plan, operation, Problem(geometry, uniform(dtype)), implementation, shapes, out_shape)


@remembered
def known_scatter_plan(geometry: ScatterGradient, dtype: Dtype) -> Plan:
    """The plan of a gradient by indices that are known to be right."""
    return scatter_plan(f"max_pool{KINDS[geometry.rank]}_input", geometry, dtype)


@remembered
def known_pool_plan(geometry: PoolGradient, dtype: Dtype) -> Plan:
    """The plan of a pool's gradient."""
    return pool_plan(f"{geometry.forward.kind}_pool{KINDS[geometry.rank]}_input", geometry, dtype)
