"""Plans whose calls are calls of kernels on the caller's arrays: what those kernels take beside them is found out once.

implementation.calls, asked twice about one pair of arrays -> what stands for x and for y, and what is always the same
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import GRAIN, Call, Kernel
from fastconv.kernels.memory import aligned
from fastconv.problem.convolutions import Array, Size

if TYPE_CHECKING:
    from fastconv.plans.plan import Plan

NAME = "straight"  # of the attribute of a plan that holds what was found out


class Step(NamedTuple):
    """A kernel that is called with (x, *between, y or y twice, *behind).

    Attributes
    ----------
    kernel : Kernel
    items, work : int
        As the kernel takes them.
    between, behind : tuple
        Arguments that every call shares.
    twice : bool
        Whether y comes twice: where no residual is added it stands for it.
    """

    kernel: Kernel
    items: int
    work: int
    between: tuple[Any, ...]
    twice: bool
    behind: tuple[Any, ...]


class Straight(NamedTuple):
    """All that a call needs.

    Attributes
    ----------
    shape, dtype
        Of x, which lies in C order.
    out_shape, out_dtype
        Of the result.
    cells : int
        Its elements, where it is to begin a cache line, else 0.
    steps : tuple of Step
    """

    shape: Size
    dtype: np.dtype[Any]
    out_shape: Size
    out_dtype: np.dtype[Any]
    cells: int
    steps: tuple[Step, ...]

    def run(self, x: Any, out: Any, plan: "Plan") -> Any:
        """The result of the plan, in `out` where that is given; None of arrays that are not taken as they are."""
        shape, dtype, out_shape, out_dtype, cells, steps = self
        if not (type(x) is np.ndarray and x.dtype is dtype and x.shape == shape and x.flags.carray):
            return None
        if out is None:
            y = aligned(cells, out_dtype).reshape(out_shape) if cells else np.empty(out_shape, out_dtype)
        else:
            y = plan.target({plan.operands[0].name: x}, out, {})
            if y is None:
                return None
        source, to = x.ravel(), y.ravel()
        for kernel, items, work, between, twice, behind in steps:
            arguments = (source, *between, to, to, *behind) if twice else (source, *between, to, *behind)
            if work < GRAIN:  # as the kernel would decide, without asking it
                kernel.serial(0, items, *arguments)
            else:
                kernel(items, work, *arguments)
        return y


def of_one(plan: "Plan", x: Any, out: Any) -> Any:
    """The result of a plan of one operand: from the second call on by its kernels at once, where it is nothing else."""
    known = plan.__dict__.get(NAME)
    if known is not None:
        y = known.run(x, out, plan)
        if y is not None:
            return y
    y = plan.run({plan.operands[0].name: x}, out, plan.packed, {})
    if NAME not in plan.__dict__ and type(x) is type(y) is np.ndarray and not np.may_share_memory(x, y):  # told by addresses
        plan.__dict__[NAME] = found(plan, x, y)
    return y


def found(plan: "Plan", x: Array, y: Array) -> Straight | None:
    """What kernels a call is, if it is nothing else, found out by arrays of one."""
    (one,), ask = plan.operands, plan.implementation.calls
    if ask is None or plan.form.woven is not None or not (plan.takes({one.name: x}) and y.flags.carray and x.size):
        return None
    shaped, out = {one.name: x.reshape(one.kernel_shape)}, y.reshape(plan.seen.geometry.out_shape)
    steps = steps_of(lambda: ask(shaped, plan.packed, plan.seen, out), x, y)
    if steps is None:
        return None
    return Straight(one.shape, one.dtype, plan.out_shape, plan.out_dtype, plan.cells_in_lines, steps)


def is_all_of(found: Any, array: Array) -> bool:
    """Whether an argument is an array in C order as kernels take it, and not as another type."""
    if type(found) is not np.ndarray or found.dtype != array.dtype or found.shape != (array.size,):
        return False
    return bool(found.ctypes.data == array.ctypes.data)


def step_of(one: Call, again: Call, x: Array, y: Array) -> Step | None:
    """A call that was asked for twice, without the arrays; None where it takes others that are new in each call."""
    if one.arguments == () or not is_all_of(one.arguments[0], x):
        return None
    places = [place for place, argument in enumerate(one.arguments) if is_all_of(argument, y)]
    if places not in ([place + i for i in range(count)] for place in places[:1] for count in (1, 2)):
        return None
    between, behind = slice(1, places[0]), slice(places[-1] + 1, None)
    for part in (between, behind):
        if any(a is not b for a, b in zip(one.arguments[part], again.arguments[part], strict=True)):
            return None
    return Step(one.kernel, one.items, one.work, one.arguments[between], len(places) == 2, one.arguments[behind])


def steps_of(ask: Callable[[], tuple[Call, ...] | None], x: Array, y: Array) -> tuple[Step, ...] | None:
    """The steps of what ask() gives for x and y, if there is nothing else to a call."""
    first, second = ask(), ask()
    if not first or not second:
        return None
    steps = [step_of(one, again, x, y) for one, again in zip(first, second, strict=True)]
    return None if None in steps else tuple(step for step in steps if step is not None)
