"""Arrays whose memory is the other layout's, as a transposed view of pictures has it: run in that layout, not copied.

    x [n, c, h, w] over memory of [n, h, w, c]        is the x of a plan with layout NHWC, whose result is seen as [n, k, h, w]

The result's memory then has the order of x's, as torch has it of arrays in its channels_last format. Sums may be made in
another order than those of an array in C order, and differ from them in their last bits.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.problem.convolutions import LAYOUTS, Array, ConvGeometry, shape_turned
from fastconv.problem.pools import PoolGeometry

if TYPE_CHECKING:
    from fastconv.plans.plan import Plan


def turned(array: Array, rank: int, channels_last: bool) -> Array:
    """A view of a map, or of weights, of one layout as one of the other; with or without a batch axis."""
    return np.moveaxis(array, -1, -1 - rank) if channels_last else np.moveaxis(array, -1 - rank, -1)


def lies_turned(array: Array, rank: int, channels_last: bool) -> bool:
    """Whether a map's memory is in C order in the other layout alone."""
    if array.flags.c_contiguous or not rank < array.ndim <= rank + 2:
        return False
    return bool(turned(array, rank, channels_last).flags.c_contiguous)


def serves(plan: "Plan", operands: dict[str, Array], out: Any) -> bool:
    """Whether a plan that chose for itself runs in the other layout: x lies so, and `out` does where it is given."""
    g, x = plan.geometry, operands.get("x")
    if x is None or x.flags.c_contiguous or plan.asked != "auto" or not isinstance(g, (ConvGeometry, PoolGeometry)):
        return False
    outputs = () if out is None else out if isinstance(out, tuple) else (out,)
    return all(lies_turned(one, g.rank, g.channels_last) for one in (x, *outputs))


def plan_of(plan: "Plan") -> "Plan | None":
    """The plan in the other layout, with the same weights; None where the plan kept none of them to pack again."""
    from fastconv.plans.kinds import ConvPlan
    from fastconv.plans.planning import decided

    g, last = plan.geometry, plan.geometry.channels_last
    if isinstance(plan, ConvPlan) and plan.weights is None:
        return None
    problem = replace(plan.problem, geometry=replace(g, channels_last=not last))
    shapes = {one.name: (shape_turned(one.shape, g.rank, last), one.dtype) for one in plan.operands}
    made = decided(type(plan), plan.operation, problem, "auto", shapes, shape_turned(plan.out_shape, g.rank, last))
    if isinstance(made, ConvPlan) and isinstance(plan, ConvPlan) and plan.weights is not None:
        weights = made.seen_weights(turned(plan.weights.w, g.rank, last))
        return replace(made, packed=made.packing(weights, plan.weights.bias))
    return made


def run(plan: "Plan", operands: dict[str, Array], out: Any, others: dict[str, Array]) -> Any:
    """The result of a plan, by its turned one; None where there is none."""
    other, rank, last = plan.turned, plan.geometry.rank, plan.geometry.channels_last
    if other is None:
        return None

    def there(one: Any) -> Any:
        return tuple(map(there, one)) if isinstance(one, tuple) else one if one is None else turned(one, rank, last)

    made = other.run({name: there(array) for name, array in operands.items()}, there(out), other.packed, others)
    if out is not None:
        return out
    return tuple(turned(one, rank, not last) for one in made) if isinstance(made, tuple) else turned(made, rank, not last)


def layout_of_call(x: Any, rank: int, options: dict[str, Any], out: Any) -> tuple[str, bool] | None:
    """(the other layout, whether the one asked for has channels last) of a function's call that is better made there."""
    if type(x) is not np.ndarray or x.flags.c_contiguous or options.get("implementation", "auto") != "auto":
        return None
    first, last = LAYOUTS[rank]
    asked = first if options.get("layout") is None else options["layout"]
    if asked not in (first, last) or not lies_turned(x, rank, asked == last):
        return None
    if out is not None and not (type(out) is np.ndarray and lies_turned(out, rank, asked == last)):
        return None
    return (first, True) if asked == last else (last, False)
