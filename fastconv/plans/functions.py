"""Functions: a plan made and called once. Where a call was made before, with arrays of the same shapes, it is found.

what decides the call -> packings.Known -> weights packed, or found where equal ones were packed -> the implementation
"""

from contextlib import suppress
from typing import Any

import numpy as np

from fastconv.kernels.memory import aligned
from fastconv.plans import packings, turning
from fastconv.plans.dispatch import NETWORK, is_automatic
from fastconv.plans.kinds import ConvPlan
from fastconv.plans.planning import arguments_of, bias_array, build_pool, decided_plan
from fastconv.plans.racing import is_measured
from fastconv.plans.recall import may_be_kept, recalled, tuples_are_plain
from fastconv.plans.registry import OPERATIONS
from fastconv.plans.straight import of_one
from fastconv.problem import arguments as check
from fastconv.problem.convolutions import Array
from fastconv.problem.wholes import magnitudes_of


def once(options: dict[str, Any]) -> None:
    """Refuse to measure for the sake of one call."""
    name = options.get("implementation")
    if name is None:
        return
    if is_measured(name):
        raise ValueError('implementation "measure" is for plans, which are made once and called often; a function takes none')
    if is_automatic(name) and name == NETWORK:
        raise ValueError('implementation "network" is for plans, which are one of many; a function takes none')


# Convolutions ---------------------------------------------------------------------------------------------------------


def convolve(operation: str, rank: int, x: Any, w: Any, bias: Any, residual: Any, out: Any, options: dict[str, Any]) -> Array:
    """A plan made and called once; in the other layout, where x lies in memory so."""
    if residual is None and type(x) is np.ndarray and type(w) is np.ndarray:
        found = repeated(operation, x, w, bias, out, options)
        if found is not None:
            return found
    layout = turning.layout_of_call(x, rank, options, out)
    if layout is not None:
        with suppress(ValueError, TypeError):  # which the call as it was made words better
            return turned_call(operation, rank, (x, w, residual, out), bias, options, layout)
    plan, packed, operands, others = for_one_call(operation, rank, x, w, bias, residual, options)
    result: Array = plan.run(operands, out, packed, others)
    return result


def repeated(operation: str, x: Array, w: Array, bias: Any, out: Any, options: dict[str, Any]) -> Array | None:
    """The result of a call whose plan is known for all weights, and takes these arrays as they are; None of any other."""
    key = arguments_of(operation, x.shape, x.dtype, w, False, options)
    try:
        known = packings.met(key)
    except TypeError:  # lists have no hash
        return None
    if known is None or known.decided is None or (tuple in key[-1] and not tuples_are_plain(key[-2])):
        return None
    choices, plan, taken, compares, no_bias, drafts = known.decided
    if x.dtype is not taken or choices is not OPERATIONS[operation[:-2]] or not (x.flags.carray and w.flags.carray):
        return None
    added = no_bias
    if bias is not None:
        if type(bias) is not np.ndarray or bias.dtype is not no_bias.dtype or bias.shape != no_bias.shape:
            return None
        added = bias if bias.flags.carray else bias.copy()
    packed = None
    if compares:
        one = packings.found(known, choices, w, bias)
        if one is None:
            packings.note(known, choices, w, bias)
        elif one.plan is None:
            return None
        elif out is None:
            return of_one(one.plan, x, None)
        else:
            packed = one.packed
    if out is None:
        cells = plan.cells_in_lines
        y = aligned(cells, plan.out_dtype).reshape(plan.out_shape) if cells else np.empty(plan.out_shape, plan.out_dtype)
    else:
        y = plan.target({"x": x}, out, {"w": w, "bias": added})
        if y is None:
            return None
    if packed is None:
        weights = plan.seen_weights(w)
        if drafts is not None:
            source, to = x.ravel(), y.ravel()
            for draft in drafts:
                draft.run(source, weights, added, to)
            return y
        packed = plan.packing(weights, added)
    if plan.keeps_shapes:
        plan.implementation.run({"x": x}, packed, plan.seen, y)
    else:
        plan.compute({"x": x.reshape(plan.operands[0].kernel_shape)}, packed, y)
    return y


def turned_call(
    operation: str, rank: int, arrays: tuple[Any, ...], bias: Any, options: dict[str, Any], layout: tuple[str, bool]
) -> Array:
    """A convolution of (x, w, residual, out) in the other layout: `layout` as turning.layout_of_call has it."""
    name, last = layout
    x, w, residual, out = (None if one is None else turning.turned(check.array("w", one), rank, last) for one in arrays)
    made = convolve(operation, rank, x, w, bias, residual, out, {**options, "layout": name})
    return turning.turned(made, rank, not last) if arrays[-1] is None else arrays[-1]


def for_one_call(
    operation: str, rank: int, x: Any, w: Any, bias: Any, residual: Any, options: dict[str, Any]
) -> tuple[ConvPlan, Any, dict[str, Array], dict[str, Array]]:
    """(plan, packed weights, operands, weights and bias as arrays) of a function's call."""
    once(options)
    x, w = check.array("x", x), check.array("w", w)
    bias = bias if bias is None else check.array("bias", bias)
    plan, packed = packed_once(operation, rank, x, w, bias, residual is not None, options)
    operands, others = {"x": x}, {"w": w} if bias is None else {"w": w, "bias": bias}
    if residual is not None:
        added = check.array("residual", residual)
        if added.shape != plan.out_shape:
            raise ValueError(f"residual must have the result's shape, {plan.out_shape}, got {added.shape}")
        operands["residual"] = check.cast("residual", added, plan.out_dtype).astype(plan.out_dtype, copy=False)
    return plan, packed, operands, others


def packed_once(
    operation: str, rank: int, x: Array, w: Array, bias: Any, residual: bool, options: dict[str, Any]
) -> tuple[ConvPlan, Any]:
    """(plan, packed weights) of a function's call, found where equal weights were packed before."""
    choices, key, known, one = OPERATIONS[operation[:-2]], None, None, None
    if may_be_kept(tuple(options.values())):
        key = arguments_of(operation, x.shape, x.dtype, w, residual, options)
        known = packings.known_of(key)
    decided = None if known is None else known.decided
    looks = known is not None and packings.may_be_compared(w) and (decided is None or decided.compares)
    if known is not None and looks:
        one = packings.found(known, choices, w, bias)
        if one is not None and one.plan is not None:
            return one.plan, one.packed
    if decided is not None and decided.choices is choices:
        plan = decided.plan
        seen = plan.seen_weights(w)
    else:
        magnitudes = None if w.dtype.kind == "f" else magnitudes_of(x.dtype, w, bias)
        plan, seen, fixed = decided_plan(operation, rank, (x.shape, x.dtype, w, residual, magnitudes), options, True, key)
        if known is not None and fixed and magnitudes is None:
            known.decided = packings.decided(choices, plan, w, bias_array(None, plan))
            looks = looks and known.decided.compares
    added = bias_array(bias, plan)
    packed = plan.packing(seen, added)
    if known is not None and one is not None:
        packings.keep(known, one, w, plan, packed, lambda own: plan.packing(plan.seen_weights(own), added))
    elif known is not None and looks:
        packings.note(known, choices, w, bias)
    return plan, packed


# Pools ----------------------------------------------------------------------------------------------------------------


def pooled(operation: str, rank: int, x: Any, out: Any, options: dict[str, Any]) -> Any:
    """A plan made and called once."""
    once(options)
    x = check.array("x", x)
    plan = recalled(build_pool, operation, (rank, x.shape, x.dtype), options, known=True)
    return of_one(plan, x, out)
