"""Plans bound to arrays that stay where they are.

Plan.bind(x, ..., out=y) -> checks, once -> the program of its kernel calls; what is more than kernel calls, as a call makes it
"""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

from fastconv.kernels.memory import aligned
from fastconv.kernels.programs import Program, program
from fastconv.kernels.simd.arrays import weaving
from fastconv.plans.plan import NOTHING, Plan
from fastconv.problem.problem import Operands


class Bound:
    """A call of a plan on arrays that stay.

    Attributes
    ----------
    run : callable
        Writes `out`.
    out : array or tuple of array
        The result.
    program : Program or None
        All that `run` does, where that is calls of kernels.
    """

    __slots__ = ("out", "program", "run")

    def __init__(self, run: Callable[[], Any], out: Any, program: Program | None = None) -> None:
        self.run, self.out, self.program = run, out, program

    def __call__(self) -> Any:
        """The result, in `out`."""
        self.run()
        return self.out


def bound(plan: Plan, x: Any, arrays: tuple[Any, ...], out: Any) -> Bound:
    """A plan on these arrays, looked over as a call looks them over."""
    operands = plan.bound(x, arrays, {}, None)[0]
    if out is None:
        raise TypeError("out must be an array, got NoneType")
    in_place = out is operands.get("residual") and plan.adds_in_place
    apart = {"x": operands["x"]} if in_place else operands
    if type(plan).run is not Plan.run or not plan.takes(operands) or plan.target(apart, out, NOTHING) is not out:
        plan(x, *arrays, out=out)  # which raises what a call raises
        return Bound(partial(plan, x, *arrays, out=out), out)
    shaped = {one.name: operands[one.name].reshape(one.kernel_shape) for one in plan.operands}
    if in_place:
        shaped["residual"] = out.reshape(-1)[:0]  # an empty one says that out holds it
    made = program_of(plan, shaped, out)
    return Bound(partial(plan.compute, shaped, plan.packed, out) if made is None else made.run, out, made)


def program_of(plan: Plan, shaped: Operands, out: Any) -> Program | None:
    """The program of a plan that runs kernels and nothing else; phases are woven by one more."""
    calls, phases, shape = plan.implementation.calls, plan.form.woven, plan.seen.geometry.out_shape
    if calls is None or plan.served is not plan.seen:
        return None
    y = out.reshape(shape) if phases is None else aligned(prod(shape), plan.written_dtype).reshape(shape)
    found = calls(shaped, plan.packed, plan.seen, y)
    if not found:
        return None
    return program(found if phases is None else (*found, weaving.call(y, out, phases)))
