"""Which implementation serves a call: a pure function of the problem and the kind of CPU, never of a timing."""

import re
from itertools import islice
from math import prod
from typing import Any

from fastconv.kernels.keeping import Kept
from fastconv.machine import Machine
from fastconv.plans.forms import Form, forms
from fastconv.plans.registry import OPERATIONS, Implementation
from fastconv.problem.convolutions import ConvGeometry
from fastconv.problem.filters import FilterGeometry
from fastconv.problem.problem import Problem
from fastconv.problem.wholes import Magnitudes

FAMILIES = {
    "global_max_pool": "max_pool",
    "global_avg_pool": "avg_pool",
    "conv_input": "conv_transpose",
    "min_pool_input": "max_pool_input",
    "median_pool": "rank_pool",
    **dict.fromkeys(("relu", "relu6", "leaky_relu", "silu", "hardswish", "gelu", "clip"), "activation"),
}

RANK = re.compile("[123]d(?=_|$)")  # conv2d is conv, and conv2d_weight conv_weight
WORTH = 1e-5  # seconds of packing, from which on a call that packs for itself may be served otherwise
NETWORK = "network"  # "auto" for a plan that is one of many, whose weights are in no cache when it is called
CAST = 3e-10  # seconds of an element that is converted in a pass of its own
HOPELESS = 8.0  # times the least estimate: what is estimated dearer is not worth a measurement


def candidates(operation: str) -> tuple[Implementation, ...]:
    """The implementations of an operation, best first; its number of axes may be in the name or not."""
    family = family_of(operation)
    return OPERATIONS[family]


def family_of(operation: Any) -> str:
    """ "conv" of "conv2d", "max_pool" of "global_max_pool"."""
    if not isinstance(operation, str):
        raise TypeError(f"operation must be a string, got {operation!r}")
    family = RANK.sub("", operation)
    family = FAMILIES.get(family, family)
    if family not in OPERATIONS:
        raise ValueError(f"operation must be one of {', '.join(OPERATIONS)} (with 1d, 2d or 3d), got {operation!r}")
    return family


def is_automatic(implementation: Any) -> bool:
    """Whether the caller leaves the choice to this module."""
    return isinstance(implementation, str) and implementation in ("auto", NETWORK)


def estimate(one: Implementation, problem: Problem, machine: Machine, once: bool = False, streams: bool = False) -> float:
    """The seconds of a call of a plan; or, `once`, of making the plan too; or of one that `streams` its weights."""
    seconds = one.cost(problem, machine) + casts(one, problem)
    seconds += one.pack_cost(problem, machine) if once else 0.0
    return seconds + (streaming(one, problem, machine) if streams else 0.0)


def streaming(one: Implementation, problem: Problem, machine: Machine) -> float:
    """Seconds that packed weights, and what is made of the input like them, take to come to the L2 cache."""
    g = problem.geometry
    if not isinstance(g, ConvGeometry):
        return 0.0
    return one.growth(problem, machine) * (g.weights + prod(g.x_shape)) * problem.dtype.itemsize / machine.streamed


def casts(one: Implementation, problem: Problem) -> float:
    """The seconds of passes that convert x and the result, where an implementation does not; filters all do."""
    stored, _, summed, result = problem.types
    if stored == summed == result or isinstance(problem.geometry, FilterGeometry) or one.reads(problem):
        return 0.0
    g, converts = problem.geometry, one.converts(problem)
    cells = prod(g.x_shape) * (stored != summed and "x" not in converts)
    return CAST * (cells + prod(g.out_shape) * (result != summed and "y" not in converts))


def choose(
    operation: str, problem: Problem, machine: Machine, implementation: Any = "auto", once: bool = False, local: bool = False
) -> Implementation:
    """The cheapest implementation that supports the call, among others or by itself, or the one named.

    `local`, it is one that sums the products themselves. `once`, the time to pack the weights counts, where it is worth that a
    function and a plan differ in their last bits.
    """
    found = candidates(operation)
    if is_automatic(implementation):
        found = tuple(one for one in found if not one.error.spread) if local else found
        best = least_of(found, problem, machine, once=False, streams=implementation == NETWORK)
        if not once or best.pack_cost(problem, machine) < WORTH:
            return best
        return least_of(tuple([for_once(one, problem, machine) for one in found]), problem, machine, once)
    names = [one.name for one in found]
    if not isinstance(implementation, str) or implementation not in names:
        raise ValueError(f'implementation must be "auto" or one of {names} for {operation}, got {implementation!r}')
    chosen = found[names.index(implementation)]
    reason = chosen.supports(problem)
    if reason is not None:
        raise ValueError(refusal(chosen, reason))
    return for_once(chosen, problem, machine) if once else chosen


def for_once(one: Implementation, problem: Problem, machine: Machine) -> Implementation:
    """What serves a call that packs weights for itself: the same, where they are few."""
    if one.once is None or one.supports(problem) is not None or one.pack_cost(problem, machine) < WORTH:
        return one
    return one.once


def chosen_form(
    operation: str,
    problem: Problem,
    machine: Machine,
    implementation: Any = "auto",
    once: bool = False,
    magnitudes: Magnitudes | None = None,
) -> tuple[Form, Implementation]:
    """The form of the problem and the implementation that together are cheapest; of the problem itself the one named.

    Of floats, they are those that are cheapest for its representative, where they serve the problem too.
    """
    if not is_automatic(implementation):
        return Form(problem), choose(operation, problem, machine, implementation, once)
    streams, near = implementation == NETWORK, problem.representative
    if near is not problem and magnitudes is None:
        place, name = choice_for(operation, near, machine, once, streams, candidates(operation))
        form = next(islice(forms(problem), place, None), None)
        for one in () if form is None else candidates(form.operation(operation)):
            if form is not None and one.name == name and one.supports(form.problem) is None:
                return form, for_once(one, form.problem, machine) if once else one
    return cheapest_form(operation, problem, machine, once, streams, magnitudes)[1]


def cheapest_form(
    operation: str, problem: Problem, machine: Machine, once: bool, streams: bool, magnitudes: Magnitudes | None = None
) -> tuple[int, tuple[Form, Implementation]]:
    """(which one, the form and the implementation that together are cheapest)."""
    implementation = NETWORK if streams else "auto"
    found = [
        (form, choose(form.operation(operation), form.problem, machine, implementation, once, form.real))
        for form in forms(problem, magnitudes)
    ]
    costs = [estimate(one, form.problem, machine, once, streams) + form.cost(machine, once) for form, one in found]
    place = costs.index(min(costs))
    return place, found[place]


_choices = Kept()  # (the operation's candidates, which form, the implementation's name) by all that decided it


def choice_for(
    operation: str, problem: Problem, machine: Machine, once: bool, streams: bool, known: tuple[Implementation, ...]
) -> tuple[int, str]:
    """(which form, the implementation's name) that is cheapest; `known` are the candidates, to which some may have come."""
    key = operation, problem, machine, once, streams
    found = _choices.get(key) or _choices.found(key)
    if found is None or found[0] is not known:
        place, (_, one) = cheapest_form(operation, problem, machine, once, streams)
        found = known, place, one.name
        _choices.keep(key, found)
    return found[1], found[2]


def least_of(
    found: tuple[Implementation, ...], problem: Problem, machine: Machine, once: bool, streams: bool = False
) -> Implementation:
    """The first of the cheapest that support a problem; what takes a search comes last, and only if it may be cheaper."""
    best: tuple[float, int] | None = None
    searches = []
    for place, one in enumerate(found):
        if one.least is not None:
            searches.append((one.least(problem, machine), place))
        elif one.supports(problem) is None:
            estimated = estimate(one, problem, machine, once, streams), place
            best = estimated if best is None else min(best, estimated)
    for bound, place in sorted(searches):
        if best is not None and bound > best[0]:
            break
        if found[place].supports(problem) is None:
            estimated = estimate(found[place], problem, machine, once, streams), place
            best = estimated if best is None else min(best, estimated)
    assert best is not None, "the reference serves all"
    return found[best[1]]


def rivals(
    operation: str, problem: Problem, machine: Machine, chosen: Implementation, once: bool = False
) -> tuple[Implementation, ...]:
    """The implementations that some weights make cheaper than the chosen one."""
    found = [one for one in candidates(operation) if one.weigh and one.supports(problem) is None]
    if not found:
        return ()
    limit = estimate(chosen, problem, machine, once)
    return tuple(one for one in found if weighed(one, None, problem, machine, once) < limit)


def weighed(one: Implementation, w: Any, problem: Problem, machine: Machine, once: bool = False) -> float:
    """The estimate for these weights; of None, for the best."""
    assert one.weigh is not None
    return one.weigh(w, problem, machine) + casts(one, problem) + (one.pack_cost(problem, machine) if once else 0.0)


def cheapest(
    found: tuple[Implementation, ...], chosen: Implementation, w: Any, problem: Problem, machine: Machine, once: bool = False
) -> Implementation:
    """The chosen implementation, or the one of its rivals that is cheaper for these weights."""
    costs = {one.name: weighed(one, w, problem, machine, once) for one in found}
    best = min(found, key=lambda one: costs[one.name], default=chosen)
    return best if costs.get(best.name, float("inf")) < estimate(chosen, problem, machine, once) else chosen


def contenders(operation: str, problem: Problem, machine: Machine, chosen: Implementation) -> list[str]:
    """The names of the implementations that a measurement tries beside the chosen one: those not estimated far dearer."""
    form, _ = chosen_form(operation, problem, machine)
    limit = HOPELESS * (estimate(chosen, form.problem, machine) + form.cost(machine))
    others = (one for one in candidates(operation)[:-1] if one is not chosen and one.supports(problem) is None)
    return [one.name for one in others if estimate(one, problem, machine) < limit]


def refusal(implementation: Implementation, reason: str) -> str:
    """The sentence that an error and explain() share."""
    return f"implementation {implementation.name!r} cannot serve this call: {reason}"


def explanation(operation: str, problem: Problem, machine: Machine, magnitudes: Magnitudes | None = None) -> list[str]:
    """One line a candidate: chosen, dearer than the chosen one and yet what a function takes, or why it cannot.

    What is chosen is asked for the normal form of the problem; the others are told as if they were asked by name. What serves
    the phases of a transposed convolution, and not the convolution itself, comes first.
    """
    named_ones, (form, chosen) = candidates(operation), chosen_form(operation, problem, machine, magnitudes=magnitudes)
    found = named_ones if chosen.name in [one.name for one in named_ones] else (chosen, *named_ones)
    _, chosen_once = chosen_form(operation, problem, machine, once=True, magnitudes=magnitudes)
    seen, more = form.problem, form.cost(machine)
    best = estimate(chosen, seen, machine) + more
    lines = []
    for one in found:
        one, asked = (chosen, seen) if one.name == chosen.name else (one, problem)
        reason = one.supports(asked)
        if reason is not None:
            lines.append(refusal(one, reason))
            continue
        cost = best if one is chosen else estimate(one, asked, machine)
        expected = f"estimated {1e6 * cost:,.0f} us"
        by = "" if one.kernel is None else f" by {one.kernel(asked, machine)}"
        if one is chosen:
            by += form.described(problem)
            other = next((other for other in named_ones if other.name == one.name), None)
            named = f"it is none of {family_of(operation)}'s" if other is None else other.supports(problem)
            asked_by_name = "" if named is None else f"; asked by its name, {refusal(one, named)}"
            lines.append(f"implementation {one.name!r} is chosen: {expected}{by}; {one.summary}{asked_by_name}")
            continue
        line = f"implementation {one.name!r} is not chosen: {expected}{by}, {cost / best:.3g} times the chosen one's"
        lines.append(
            line + ("; a function, which packs the weights for one call, takes it" if one.name == chosen_once.name else "")
        )
    return lines
