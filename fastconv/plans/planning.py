"""How plans are made: one builder an operation, and functions, which are a plan made and called once.

arguments, signatures -> geometry -> dispatch.choose -> pack -> Plan
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, wraps
from typing import Any, TypeVar

import numpy as np

from fastconv.machine import host
from fastconv.plans.dispatch import cheapest, choose, contenders, family_of, rivals
from fastconv.plans.plan import ConvPlan, ElementwisePlan, Plan, PoolPlan, UnpoolPlan
from fastconv.plans.racing import fastest, is_measured
from fastconv.plans.registry import OPERATIONS, Geometry, Implementation
from fastconv.problem import arguments as check
from fastconv.problem import signatures
from fastconv.problem.convolutions import Array, Size
from fastconv.problem.windows import ElementwiseGeometry

AnyPlan = TypeVar("AnyPlan", bound=Plan)
MOST_KEPT = 1024


@lru_cache(maxsize=MOST_KEPT)
def same(geometry: Geometry) -> Geometry:
    """The first of all equal geometries: to look up a geometry that is the very key costs no comparison."""
    return geometry


def decide(operation: str, geometry: Geometry, dtype: np.dtype[Any], implementation: Any, once: bool = False) -> Implementation:
    """What serves this call on this machine."""
    return choose(operation, geometry, dtype, host(), implementation, once)


def raced(make: Callable[[str], AnyPlan]) -> AnyPlan:
    """Of the plans that make(implementation) gives, the one that a measurement finds the fastest."""
    auto = make("auto")
    return fastest(
        [make(one) for one in contenders(auto.operation, auto.geometry, auto.compute_dtype, host(), auto.implementation)]
    )


def once(implementation: Any) -> None:
    """Refuse to measure for the sake of one call."""
    if is_measured(implementation):
        raise ValueError('implementation "measure" is for plans, which are made once and called often; a function takes none')


def unbatched(shape: Size, single: bool) -> Size:
    """A geometry's shape as the caller sees it."""
    return shape[1:] if single else shape


# What was planned before ---------------------------------------------------------------------------------------------

# The operation's choices, its family, and its plan, of an operation without weights, by all that decided it.
_planned: dict[Any, tuple[Any, str, Plan]] = {}
# The operation's choices, a plan without weights, and what weights may make cheaper, by all that decided it.
_unpacked: dict[Any, tuple[Any, Any, tuple[Implementation, ...]]] = {}
_NOTHING: tuple[Any, Any, tuple[Implementation, ...]] = (None, None, ())

_PLAIN = {int, str, type(None)}
_HASHABLE = {*_PLAIN, bool, float, tuple}


def _are_plain(values: tuple[Any, ...]) -> bool:
    """Whether equal values mean the same: 1 and True and 1.0 are equal, and only the first is an int."""
    if _PLAIN.issuperset(map(type, values)):
        return True
    return all(type(value) in _PLAIN or (type(value) is tuple and _are_plain(value)) for value in values)


def _tuples_are_plain(values: tuple[Any, ...]) -> bool:
    """Whether what is inside of tuples is, where the types of all else are part of a key."""
    return all(map(_are_plain, [value for value in values if type(value) is tuple]))


def _may_be_kept(values: tuple[Any, ...]) -> bool:
    """Whether values can be looked up later by what they are equal to and their types."""
    return _tuples_are_plain(values) and all(type(value) in _HASHABLE or isinstance(value, np.dtype) for value in values)


def recalled(
    build: Callable[..., AnyPlan], operation: str, arguments: tuple[Any, ...], options: dict[str, Any], known: bool = False
) -> AnyPlan:
    """build(operation, *arguments, **options), or the plan that it made of equal arguments before.

    `known`, the arguments come from an array, and their tuples are plain.
    """
    values = tuple(options.values())
    kinds = tuple(map(type, values))  # True is not 1, nor is 1.0
    key: Any = (operation, arguments, values, kinds)
    try:
        found = _planned.get(key)
    except TypeError:  # lists have no hash
        found = None
    if found is not None and found[0] is OPERATIONS.get(found[1]):
        plain = tuple not in kinds or _tuples_are_plain(values)
        if plain and (known or _tuples_are_plain(arguments)):
            return found[2]  # type: ignore[return-value]
    plan = build(operation, *arguments, **options)
    if _may_be_kept((*arguments, *values)) and not is_measured(options["implementation"]):
        if len(_planned) >= MOST_KEPT:
            _planned.clear()
        family = family_of(operation)  # whose choices may change: an implementation may be registered
        _planned[key] = OPERATIONS[family], family, plan
    return plan


def remembered(build: Callable[..., AnyPlan]) -> Callable[..., AnyPlan]:
    """`build`, or the plan that it made of equal arguments before: a function then costs little more than a call of a plan."""

    @wraps(build)
    def recall(operation: str, *arguments: Any, **options: Any) -> AnyPlan:
        return recalled(build, operation, arguments, options)

    return recall


# One builder an operation ---------------------------------------------------------------------------------------------


def plan_convolution(operation: str, rank: int, x_shape: Any, dtype: Any, w: Any, bias: Any, **options: Any) -> ConvPlan:
    """The plan of conv{rank}d or conv_transpose{rank}d, with weights of its own."""
    if is_measured(options["implementation"]):
        return raced(
            lambda one: plan_convolution(operation, rank, x_shape, dtype, w, bias, **options | {"implementation": one})
        )
    given, w = check.shape("x_shape", x_shape), check.array("w", w)
    dtype = check.native(w.dtype) if dtype is None else check.dtype("dtype", dtype)
    found, weights = decided_plan(operation, rank, given, dtype, w, options, once=False)
    if np.may_share_memory(weights, w):
        weights = weights.copy()
    return replace(found, packed=found.packing(weights, bias_array(bias, found)))


def decided_plan(
    operation: str, rank: int, x_shape: Size, dtype: np.dtype[Any], w: Array, options: dict[str, Any], once: bool
) -> tuple[ConvPlan, Array]:
    """All of a convolution's plan but its packed weights, for calls without end or for one, and the weights to pack."""
    values = tuple(options.values())
    kinds = tuple(map(type, values))  # True is not 1, nor is 1.0
    key: Any = (operation, once, x_shape, dtype, w.shape, w.dtype, values, kinds)
    choices = OPERATIONS[operation[:-2]]
    try:
        kept, found, others = _unpacked.get(key, _NOTHING)
    except TypeError:  # lists have no hash
        kept, found, others = _NOTHING
    # An implementation may have been registered since.
    if kept is not choices or (tuple in kinds and not _tuples_are_plain(values)):
        found = plan_without_weights(operation, rank, x_shape, dtype, w, once, **options)
        about = operation, found.geometry, found.compute_dtype, host(), found.implementation, once
        others = rivals(*about) if options["implementation"] == "auto" else ()
        if _may_be_kept(values):
            if len(_unpacked) >= MOST_KEPT:
                _unpacked.clear()
            _unpacked[key] = choices, found, others
    weights = check.contiguous(w, found.compute_dtype)
    if others:
        chosen = cheapest(others, found.implementation, weights, found.geometry, found.compute_dtype, host(), once)
        found = replace(found, implementation=chosen)
    return found, weights


def plan_without_weights(
    operation: str, rank: int, given: Size, dtype: np.dtype[Any], w: Array, once: bool, *, implementation: Any, **options: Any
) -> ConvPlan:
    """All of a convolution's plan but the weights."""
    dtype = check.native(dtype)
    result = np.result_type(dtype, check.native(w.dtype))
    compute = check.compute_dtype(result)
    full, single = check.batched("x", given, rank)
    transposed = operation.startswith("conv_transpose")
    geometry: Any = same(signatures.convolution(full, w.shape, result, rank=rank, transposed=transposed, **options))
    chosen = decide(operation, geometry, compute, implementation, once)
    return ConvPlan(operation, geometry, dtype, result, compute, chosen, given, unbatched(geometry.out_shape, single))


def bias_array(bias: Any, plan: ConvPlan) -> Array:
    """One value per output channel: a copy of `bias`, or zeros."""
    geometry, result, compute = plan.geometry, plan.out_dtype, plan.compute_dtype
    if bias is None:
        return np.zeros(geometry.out_channels, compute)
    found = check.array("bias", bias)
    if found.shape != (geometry.out_channels,):
        raise ValueError(f"bias must have shape ({geometry.out_channels},), one value per output channel, got {found.shape}")
    if not np.can_cast(found.dtype, result, "same_kind"):
        raise TypeError(f"bias must have a dtype that casts to {result}, the dtype of the result, got {found.dtype}")
    return found.astype(compute)


def convolve(operation: str, rank: int, x: Any, w: Any, bias: Any, out: Any, **options: Any) -> Array:
    """A plan made and called once."""
    once(options["implementation"])
    x, w = check.array("x", x), check.array("w", w)
    bias = bias if bias is None else check.array("bias", bias)
    plan, weights = decided_plan(operation, rank, x.shape, x.dtype, w, options, once=True)
    packed = plan.packing(weights, bias_array(bias, plan))
    return plan.run(x, out, packed, {"w": w} if bias is None else {"w": w, "bias": bias})


def build_pool(operation: str, rank: int, x_shape: Any, dtype: Any, *, implementation: Any, **options: Any) -> PoolPlan:
    """The plan of {max, min, avg, lp}_pool, global_{max, avg}_pool or adaptive_{max, avg}_pool over `rank` axes."""
    if is_measured(implementation):
        return raced(lambda one: plan_pool(operation, rank, x_shape, dtype, implementation=one, **options))
    dtype = pool_dtype(operation, dtype)
    given = check.shape("x_shape", x_shape)
    full, single = check.batched("x", given, rank)
    build = signatures.adaptive_pool if operation.startswith("adaptive") else signatures.pool
    geometry = same(build(full, rank=rank, **options))
    compute = check.compute_dtype(dtype)
    chosen = decide(operation, geometry, compute, implementation)
    return PoolPlan(operation, geometry, dtype, dtype, compute, chosen, given, unbatched(geometry.out_shape, single))


plan_pool = remembered(build_pool)


def pool_dtype(operation: str, dtype: Any) -> np.dtype[Any]:
    """A dtype that the pool is defined for: an order for max and min, a root for lp."""
    found = check.dtype("dtype", np.float32 if dtype is None else dtype)
    if found.kind == "c" and "avg" not in operation:
        raise TypeError(f"x has dtype {found}, which {operation} is not defined for: complex numbers have no order")
    if found.kind != "f" and operation.startswith("lp_pool"):
        raise TypeError(f"x has dtype {found}, which {operation} is not defined for: it takes a root, of a real float type")
    return found


def pooled(operation: str, rank: int, x: Any, out: Any, **options: Any) -> Any:
    """A plan made and called once."""
    once(options["implementation"])
    x = check.array("x", x)
    return recalled(build_pool, operation, (rank, x.shape, x.dtype), options, known=True)(x, out)


@remembered
def plan_unpool(operation: str, rank: int, x_shape: Any, dtype: Any, *, implementation: Any, **options: Any) -> UnpoolPlan:
    """The plan of max_unpool over `rank` axes."""
    found = check.dtype("dtype", np.float32 if dtype is None else dtype)
    given = check.shape("x_shape", x_shape)
    full, single = check.batched("x", given, rank)
    geometry = signatures.unpool(full, rank=rank, **options)
    compute = check.compute_dtype(found)
    chosen = decide(operation, geometry, compute, implementation)
    return UnpoolPlan(operation, geometry, found, found, compute, chosen, given, unbatched(geometry.out_shape, single))


@remembered
def plan_windows(operation: str, x_shape: Any, dtype: Any, *, implementation: Any, **options: Any) -> Plan:
    """The plan of unfold or fold."""
    found = check.dtype("dtype", np.float32 if dtype is None else dtype)
    given = check.shape("x_shape", x_shape)
    build = signatures.unfold if operation == "unfold" else signatures.fold
    geometry, single = build(given, **options)
    compute = check.compute_dtype(found)
    chosen = decide(operation, geometry, compute, implementation)
    return Plan(operation, geometry, found, found, compute, chosen, given, unbatched(geometry.out_shape, single))


@remembered
def plan_activation(operation: str, activation: Any, x_shape: Any, dtype: Any, *, implementation: Any) -> ElementwisePlan:
    """The plan of an activation on its own."""
    found = check.dtype("dtype", np.float32 if dtype is None else dtype)
    given = check.shape("x_shape", x_shape)
    geometry = same(ElementwiseGeometry(given, check.activation(activation, found)))
    compute = check.compute_dtype(found)
    chosen = decide(operation, geometry, compute, implementation)
    return ElementwisePlan(operation, geometry, found, found, compute, chosen, given, given)
