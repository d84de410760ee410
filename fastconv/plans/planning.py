"""How plans are made: one builder a family of operations.

arguments, signatures -> Problem -> dispatch.choose -> pack -> Plan
"""

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastconv.kernels.keeping import Kept
from fastconv.machine import host, memory
from fastconv.plans.dispatch import cheapest, chosen_form, contenders, rivals
from fastconv.plans.kinds import ConvPlan, ElementwisePlan, IndicesPlan, PoolPlan, UnpoolPlan, Weights
from fastconv.plans.plan import Operand, Plan
from fastconv.plans.racing import fastest, is_measured
from fastconv.plans.recall import may_be_kept, recalled, same, tuples_are_plain
from fastconv.plans.registry import OPERATIONS, Implementation
from fastconv.problem import arguments as check
from fastconv.problem import signatures
from fastconv.problem.convolutions import Activation, Array, Size
from fastconv.problem.pools import PoolGeometry
from fastconv.problem.problem import Problem
from fastconv.problem.types import Types, summed_in, uniform
from fastconv.problem.wholes import Magnitudes, magnitudes_of
from fastconv.problem.windows import ElementwiseGeometry

AnyPlan = TypeVar("AnyPlan", bound=Plan)
INT64 = np.dtype(np.int64)
NUMBERS = {"clip": ("low", "high"), "leaky_relu": ("negative_slope",)}  # arguments of activations on their own
WHOLE = frozenset(("relu", "relu6", "clip"))  # activations that integers have too
PLAIN_LOOPS = 1 << 20  # operations that the reference makes in a second or two

# The operation's choices, a plan without weights, and what weights may make cheaper, by all that decided it.
_unpacked = Kept()
_NONE: tuple[Any, Any, tuple[Implementation, ...]] = (None, None, ())


def raced(make: Callable[[str], AnyPlan]) -> AnyPlan:
    """Of the plans that make(implementation) gives, the one that a measurement finds the fastest."""
    auto = make("auto")
    return fastest([auto, *map(make, contenders(auto.operation, auto.problem, host(), auto.implementation))])


def unbatched(shape: Size, single: bool) -> Size:
    """A geometry's shape as the caller sees it."""
    return shape[1:] if single else shape


def decided(
    kind: type[AnyPlan],
    operation: str,
    problem: Problem,
    implementation: Any,
    shapes: dict[str, tuple[Size, np.dtype[Any]]],
    out_shape: Size,
    for_one_call: bool = False,
    magnitudes: Magnitudes | None = None,
) -> AnyPlan:
    """The plan of a problem, or of its normal form; `shapes` tells the operands' shapes and dtypes as the caller sees them."""
    problem = same(problem)
    form, chosen = chosen_form(operation, problem, host(), implementation, for_one_call, magnitudes)
    seen = same(form.problem)
    geometry = seen.geometry
    as_stored = frozenset(shapes) if chosen.reads(seen) else chosen.converts(seen) | {"indices"}
    kernel_shapes = {"residual": geometry.out_shape, "dy": getattr(geometry, "dy_shape", ())}
    kernel_shapes |= {"y": kernel_shapes["dy"], "indices": getattr(geometry, "indices_shape", geometry.x_shape)}
    read = {"residual": problem.types.result if form.real else seen.types.summed}
    operands = tuple(
        Operand(
            name,
            shape,
            dtype,
            kernel_shapes.get(name, geometry.x_shape),
            dtype if name in as_stored else read.get(name, seen.types.summed),
        )
        for name, (shape, dtype) in shapes.items()
    )
    asked = implementation if isinstance(implementation, str) else "auto"
    return kind(
        operation, problem, form._replace(problem=seen), chosen, operands, out_shape, asked=asked, magnitudes=magnitudes
    )


# Convolutions ---------------------------------------------------------------------------------------------------------


def plan_convolution(
    operation: str, rank: int, x_shape: Any, x_dtype: Any, w: Any, bias: Any, residual: Any, options: dict[str, Any]
) -> ConvPlan:
    """The plan of conv{rank}d or conv_transpose{rank}d, with weights of its own."""
    if is_measured(options.get("implementation")):
        return raced(
            lambda one: plan_convolution(
                operation, rank, x_shape, x_dtype, w, bias, residual, options | {"implementation": one}
            )
        )
    given, w = check.shape("x_shape", x_shape), check.array("w", w)
    x_dtype = check.native(w.dtype) if x_dtype is None else check.dtype("x_dtype", x_dtype)
    added = check.boolean("residual", residual)
    if w.nbytes > memory():
        raise MemoryError(
            f"w of shape {w.shape} would be copied into {w.nbytes >> 30:,} GiB, where this machine has {memory() >> 30:,} GiB "
            f"of memory"
        )
    own = np.array(w, check.native(w.dtype), order="C")  # for gradients, and for what packs a view
    arrays = given, x_dtype, own, added, magnitudes_of(x_dtype, own, bias)
    found, weights, _ = decided_plan(operation, rank, arrays, options, for_one_call=False)
    added_bias = bias_array(bias, found)
    kept = Weights(own, added_bias, None if bias is None else check.array("bias", bias).dtype)
    return replace(found, packed=found.packing(weights, added_bias), weights=kept if own.dtype.kind == "f" else None)


class Given(NamedTuple):
    """What the arrays of a convolution tell: shapes and dtypes, and of integers how large they are.

    Attributes
    ----------
    x_shape : tuple of int
    x_dtype : numpy.dtype
    w : array
    residual : bool
        Whether one is added.
    magnitudes : Magnitudes or None
    """

    x_shape: Size
    x_dtype: np.dtype[Any]
    w: Array
    residual: bool = False
    magnitudes: Magnitudes | None = None


Arrays = tuple[Size, np.dtype[Any], Array, bool, Magnitudes | None]  # as Given has them: a call makes no more than a tuple


def arguments_of(
    operation: str, x_shape: Size, x_dtype: np.dtype[Any], w: Array, residual: bool, options: dict[str, Any]
) -> tuple[Any, ...]:
    """A key of all that decides a convolution but the values of its weights; the options' values and their types end it."""
    values = tuple(options.values())
    kinds = tuple(map(type, values))  # True is not 1, nor is 1.0
    return operation, residual, x_shape, x_dtype, w.shape, w.dtype, tuple(options), values, kinds


def decided_plan(
    operation: str, rank: int, given: Arrays, options: dict[str, Any], for_one_call: bool, arguments: Any = None
) -> tuple[ConvPlan, Array, bool]:
    """All of a convolution's plan but its packed weights, for calls without end or for one, and the weights to pack.

    The third is whether other weights have the same plan. `arguments`, what `arguments_of` gives, where it was asked before.
    """
    x_shape, x_dtype, w, residual, magnitudes = given
    arguments = arguments or arguments_of(operation, x_shape, x_dtype, w, residual, options)
    key: Any = (arguments, for_one_call, magnitudes)
    choices = OPERATIONS[operation[:-2]]
    try:
        known, found, others = _unpacked.get(key) or _unpacked.found(key) or _NONE
    except TypeError:  # lists have no hash
        known, found, others = _NONE
    # An implementation may have been registered since.
    if known is not choices or not tuples_are_plain(tuple(options.values())):
        found = plan_without_weights(operation, rank, Given(*given), for_one_call, **options)
        auto = options.get("implementation", "auto") == "auto" and not found.form.real
        others = rivals(found.form.operation(operation), found.seen, host(), found.implementation, for_one_call) if auto else ()
        if may_be_kept(tuple(options.values())):
            _unpacked.keep(key, (choices, found, others))
    weights = found.seen_weights(w)
    if others:
        chosen = cheapest(others, found.implementation, weights, found.seen, host(), for_one_call)
        found = replace(found, implementation=chosen)
    return found, weights, not others


def plan_without_weights(
    operation: str,
    rank: int,
    given: Given,
    for_one_call: bool,
    *,
    dtype: Any = None,
    implementation: Any = "auto",
    **options: Any,
) -> ConvPlan:
    """All of a convolution's plan but the weights."""
    x_shape, x_dtype, w, residual, magnitudes = given
    stored, weights = check.native(x_dtype), check.native(w.dtype)
    result = check.result_dtype(np.result_type(stored, weights), dtype)
    full, single = check.batched("x", x_shape, rank)
    transposed = operation.startswith("conv_transpose")
    geometry = signatures.convolution(full, w.shape, result, rank=rank, transposed=transposed, **options)
    problem = Problem(geometry, Types(stored, weights, summed_in(result), result), residual)
    out_shape = unbatched(geometry.out_shape, single)
    shapes = {"x": (x_shape, stored)}
    if residual:
        shapes["residual"] = (out_shape, result)
    return decided(ConvPlan, operation, problem, implementation, shapes, out_shape, for_one_call, magnitudes)


def bias_array(bias: Any, plan: ConvPlan) -> Array:
    """One value per output channel, in the dtype of the sums: a copy of `bias`, or zeros."""
    geometry, result, summed = plan.geometry, plan.out_dtype, plan.seen.types.summed
    if bias is None:
        return np.zeros(geometry.out_channels, summed)
    found = check.array("bias", bias)
    if found.shape != (geometry.out_channels,):
        raise ValueError(f"bias must have shape ({geometry.out_channels},), one value per output channel, got {found.shape}")
    return check.cast("bias", found, result).astype(summed)


# Operations without weights -------------------------------------------------------------------------------------------


def build_pool(
    operation: str, rank: int, x_shape: Any, x_dtype: Any, *, implementation: Any = "auto", **options: Any
) -> PoolPlan:
    """The plan of {max, min, avg, lp}_pool, global_{max, avg}_pool or adaptive_{max, avg}_pool over `rank` axes."""
    if is_measured(implementation):
        return raced(lambda one: plan_pool(operation, rank, x_shape, x_dtype, implementation=one, **options))
    dtype = pool_dtype(operation, x_dtype)
    given = check.shape("x_shape", x_shape)
    full, single = check.batched("x", given, rank)
    build = signatures.adaptive_pool if operation.startswith("adaptive") else signatures.pool
    geometry = build(full, rank=rank, dtype=dtype, **options)
    check_border_room(geometry, dtype)
    shapes = {"x": (given, dtype)}
    out_shape = unbatched(geometry.out_shape, single)
    kind = IndicesPlan if geometry.return_indices else PoolPlan
    return decided(kind, operation, Problem(geometry, uniform(dtype)), implementation, shapes, out_shape)


def check_border_room(geometry: PoolGeometry, dtype: np.dtype[Any]) -> None:
    """Refuse a pool of more than plain loops do, whose input with its border this machine has no memory for."""
    if geometry.border is None:
        return
    size = prod(geometry.without_border.x_shape) * dtype.itemsize
    if size > memory() and geometry.flops > PLAIN_LOOPS:
        raise MemoryError(
            f"padding {geometry.padding} with padding_mode {geometry.border.mode!r} takes a copy of x of {size >> 30:,} GiB, "
            f"where this machine has {memory() >> 30:,} GiB of memory"
        )


def plan_pool(operation: str, rank: int, x_shape: Any, x_dtype: Any, **options: Any) -> PoolPlan:
    """The plan that build_pool makes, or made before."""
    return recalled(build_pool, operation, (rank, x_shape, x_dtype), options)


def pool_dtype(operation: str, dtype: Any) -> np.dtype[Any]:
    """A dtype that the pool is defined for: an order for max and min, a root for lp."""
    found = check.dtype("x_dtype", np.float32 if dtype is None else dtype)
    if found.kind == "c" and "avg" not in operation:
        raise TypeError(f"x has dtype {found}, which {operation} is not defined for: complex numbers have no order")
    if found.kind != "f" and operation.startswith("lp_pool"):
        raise TypeError(f"x has dtype {found}, which {operation} is not defined for: it takes a root, of a real float type")
    return found


def build_unpool(
    operation: str, rank: int, x_shape: Any, x_dtype: Any, *, implementation: Any = "auto", **options: Any
) -> UnpoolPlan:
    """The plan of max_unpool over `rank` axes."""
    dtype = check.dtype("x_dtype", np.float32 if x_dtype is None else x_dtype)
    given = check.shape("x_shape", x_shape)
    full, single = check.batched("x", given, rank)
    geometry = signatures.unpool(full, rank=rank, **options)
    shapes = {"x": (given, dtype), "indices": (given, INT64)}
    out_shape = unbatched(geometry.out_shape, single)
    return decided(UnpoolPlan, operation, Problem(geometry, uniform(dtype)), implementation, shapes, out_shape)


def build_windows(operation: str, x_shape: Any, x_dtype: Any, *, implementation: Any = "auto", **options: Any) -> Plan:
    """The plan of unfold or fold."""
    dtype = check.dtype("x_dtype", np.float32 if x_dtype is None else x_dtype)
    given = check.shape("x_shape", x_shape)
    build = signatures.unfold if operation == "unfold" else signatures.fold
    geometry, single = build(given, **options)
    shapes = {"x": (given, dtype)}
    out_shape = unbatched(geometry.out_shape, single)
    return decided(Plan, operation, Problem(geometry, uniform(dtype)), implementation, shapes, out_shape)


def activation_of(operation: str, value: Any, dtype: np.dtype[Any]) -> Activation:
    """The activation that an operation of its name applies; a refusal names the operation's own arguments."""
    if dtype.kind == "c" or (dtype.kind != "f" and operation not in WHOLE):
        taken = "numbers" if operation in WHOLE else "floats"
        raise TypeError(f"x has dtype {dtype}, which {operation} is not defined for: it takes real {taken}")
    names = NUMBERS.get(operation)
    if names is None:
        return check.activation(value, dtype)
    for name, number in zip(names, value[1:], strict=True):
        check.real(name, number)
    try:
        return check.activation(value, dtype)
    except ValueError as error:
        raise ValueError(str(error).replace("activation", " and ".join(names), 1)) from None


def build_activation(
    operation: str, activation: Any, x_shape: Any, x_dtype: Any, *, implementation: Any = "auto"
) -> ElementwisePlan:
    """The plan of an activation on its own."""
    dtype = check.dtype("x_dtype", np.float32 if x_dtype is None else x_dtype)
    given = check.shape("x_shape", x_shape)
    geometry = ElementwiseGeometry(given, activation_of(operation, activation, dtype))
    shapes = {"x": (given, dtype)}
    return decided(ElementwisePlan, operation, Problem(geometry, uniform(dtype)), implementation, shapes, given)
