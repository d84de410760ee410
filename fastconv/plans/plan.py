"""Plans: an operation with everything decided that does not depend on the data; planning.py makes them.

Plan(x, ...) -> checks of the operands and of out -> implementation.run, or its kernels at once (straight.py)
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastconv.kernels.finishing import finish
from fastconv.kernels.jit import Launch
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd.arrays import casting, weaving
from fastconv.machine import host, memory
from fastconv.plans import turning
from fastconv.plans.forms import Form
from fastconv.plans.registry import Implementation
from fastconv.plans.straight import of_one
from fastconv.problem import arguments as check
from fastconv.problem.convolutions import Array, Size, cached_property
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.wholes import Magnitudes

if TYPE_CHECKING:
    from fastconv.plans.binding import Bound
    from fastconv.plans.pullbacks import Pullback

LARGE = 64 << 10  # bytes of a result that begins a cache line: memory-bound kernels are 3 to 8 % faster
NOTHING: dict[str, Any] = {}
Dtype = np.dtype[Any]


class Operand(NamedTuple):
    """An array that a plan is called with.

    Attributes
    ----------
    name : str
        Of the argument.
    shape, dtype
        As the caller passes it, in this machine's byte order.
    kernel_shape, kernel_dtype
        As the implementation takes it.
    """

    name: str
    shape: Size
    dtype: Dtype
    kernel_shape: Size
    kernel_dtype: Dtype

    @property
    def as_it_is(self) -> bool:
        """Whether an array in C order needs no conversion on its way to the kernel."""
        return self.dtype == self.kernel_dtype


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """A chosen implementation for arrays of one shape and dtype. Immutable; any number of threads may call it at once.

    Attributes
    ----------
    operation : str
        The public function that this is a plan of.
    problem : Problem
        All sizes and dtypes; the batch is 1 where arrays come without a batch axis.
    form : Form
        What the implementation is asked in the problem's place.
    implementation : Implementation
        The registry's record of what runs.
    operands : tuple of Operand
        The arrays that a call takes, in order.
    out_shape : tuple of int
        Of the result, as the caller sees it.
    packed : object
        Weights as the implementation wants them; None for operations without weights.
    asked : str
        The implementation that was asked for by name, or "auto".
    magnitudes : Magnitudes or None
        What weights and bias tell of sums of integers.
    """

    operation: str
    problem: Problem
    form: Form
    implementation: Implementation
    operands: tuple[Operand, ...]
    out_shape: Size
    packed: Any = None
    asked: str = "auto"
    magnitudes: Magnitudes | None = None

    @cached_property
    def turned(self) -> "Plan | None":
        """The plan in the other layout, for arrays whose memory is that layout's."""
        return turning.plan_of(self)

    @cached_property
    def geometry(self) -> Any:
        """All sizes."""
        return self.problem.geometry

    @cached_property
    def seen(self) -> Problem:
        """What the implementation is asked: the problem, or one with the same sums."""
        return self.form.problem

    @property
    def x_shape(self) -> Size:
        """The shape of the input."""
        return self.operands[0].shape

    @property
    def dtype(self) -> Dtype:
        """The dtype of the input."""
        return self.problem.types.stored

    @cached_property
    def out_dtype(self) -> Dtype:
        """The dtype of the result."""
        return self.problem.types.result

    @cached_property
    def written_dtype(self) -> Dtype:
        """What the implementation writes: the result's dtype, or that of the sums, to be converted."""
        types = self.seen.types
        converts = self.form.woven is None and "y" in self.implementation.converts(self.seen)
        return types.result if converts or self.implementation.reads(self.seen) else types.summed

    @cached_property
    def served(self) -> Problem:
        """What the implementation is asked: all of what is seen, or its sums alone."""
        fused = self.seen.ends_with_sums or self.implementation.fuses(self.seen)
        return self.seen if fused else self.seen.bare

    @cached_property
    def takes_as_is(self) -> bool:
        """Whether arrays in C order need no conversion, nor the result, nor a pass that finishes it."""
        same = self.written_dtype == self.out_dtype and all(one.as_it_is for one in self.operands)
        return same and self.served is self.seen and 0 not in self.out_shape

    @cached_property
    def keeps_shapes(self) -> bool:
        """Whether the implementation takes arrays, and writes the result, in the caller's shapes."""
        return self.out_shape == self.seen.geometry.out_shape and all(one.shape == one.kernel_shape for one in self.operands)

    @cached_property
    def adds_in_place(self) -> bool:
        """Whether a bound call may find the residual in the array that it writes."""
        as_is = type(self).run is Plan.run and self.takes_as_is and self.form.woven is None
        return as_is and self.implementation.adds_in_place(self.seen)

    @cached_property
    def cells_in_lines(self) -> int:
        """The elements of a result that is large enough to gain by beginning a cache line, else 0."""
        self.check_room()
        cells = prod(self.out_shape)
        return cells if cells * self.out_dtype.itemsize >= LARGE else 0

    def check_room(self) -> None:
        """Refuse to make a result that this machine has no memory for: to ask for it might end the process."""
        cell = self.out_dtype.itemsize + 8 * getattr(self.geometry, "return_indices", False)
        size = prod(self.out_shape) * cell
        if size > memory():
            raise MemoryError(
                f"{self.geometry.shaped_by} give a result of shape {self.out_shape}, {size >> 30:,} GiB, where this machine "
                f"has {memory() >> 30:,} GiB of memory"
            )

    @cached_property
    def is_single(self) -> bool:
        """Whether x is the one operand."""
        return len(self.operands) == 1

    def __call__(self, x: Any, *arrays: Any, out: Any = None, **named: Any) -> Any:
        """The result for x and the other operands, in `out` where that is given, by name or behind them all."""
        if not named and self.is_single:
            if not arrays:
                return of_one(self, x, out)
            if out is None and len(arrays) == 1:
                return of_one(self, x, arrays[0])
        operands, out = self.bound(x, arrays, named, out)
        return self.run(operands, out, self.packed, NOTHING)

    def vjp(self, x: Any, *arrays: Any, out: Any = None, **named: Any) -> tuple[Any, "Pullback"]:
        """The result, and what takes the gradient of the result to those of the operands.

        Parameters
        ----------
        x, *arrays, out, **named
            As the plan is called. They, and the result, are kept as they are and must not change before the pullback is called.

        Returns
        -------
        y : array
            What the call gives.
        pull : Pullback
            ``pull(dy, wrt=None)`` gives the gradients by all operands, the weights of the plan included, or by those named.
        """
        from fastconv.plans.pullbacks import vjp

        operands, out = self.bound(x, arrays, named, out)
        return vjp(self, operands, out)

    def bind(self, x: Any, *arrays: Any, out: Any) -> "Bound":
        """A call for arrays that stay where they are: they are looked over here, once, and each call reads and writes them.

        Parameters
        ----------
        x, *arrays : array
            As the plan is called.
        out : array
            What each call writes; it must not overlap the others. Where the plan `adds_in_place` it may be the residual itself.

        Returns
        -------
        Bound
            Called with nothing, it returns `out`. No two threads may call it at once.

        Raises
        ------
        ValueError, TypeError
            As a call does.

        Examples
        --------
        >>> import numpy as np
        >>> import fastconv as fc
        >>> plan = fc.conv1d.plan((1, 1, 4), np.ones((1, 1, 2), np.float32))
        >>> x, y = np.ones((1, 1, 4), np.float32), np.empty((1, 1, 3), np.float32)
        >>> run = plan.bind(x, out=y)
        >>> x[0, 0, 3] = 5
        >>> run().tolist()
        [[[2.0, 2.0, 6.0]]]
        """
        from fastconv.plans.binding import bound

        return bound(self, x, arrays, out)

    def bound(self, x: Any, arrays: tuple[Any, ...], named: dict[str, Any], out: Any) -> tuple[Operands, Any]:
        """(the operands by name, out) of a call's arguments."""
        names = [one.name for one in self.operands]
        wanted = f"a plan of {self.operation} takes {', '.join(names)} and out"
        if len(arrays) == len(names):
            if out is not None:
                raise TypeError(f"{wanted}: out was given twice")
            arrays, out = arrays[:-1], arrays[-1]
        operands = dict(zip(names, (x, *arrays), strict=False))
        unknown = [name for name in named if name not in names or name in operands]
        if len(arrays) >= len(names) or unknown:
            raise TypeError(f"{wanted}, each once: got {1 + len(arrays)} arrays and {', '.join(named) or 'no names'}")
        operands |= named
        missing = [name for name in names if name not in operands]
        if missing:
            raise TypeError(f"{wanted}: {', '.join(missing)} is missing")
        return operands, out

    def run(self, operands: Operands, out: Any, packed: Any, others: dict[str, Array]) -> Any:
        """Check the operands and out, which may share memory with none of them nor of `others`, and run on packed weights."""
        y = self.target(operands, out, others) if self.takes(operands) else None
        if y is None:
            return self.run_converted(operands, out, packed, others)
        if self.keeps_shapes:
            self.implementation.run(operands, packed, self.seen, y)
            return y
        shaped = {name: operands[name].reshape(shape) for name, _, _, shape, _ in self.operands}
        if self.form.woven is None:
            self.implementation.run(shaped, packed, self.seen, y.reshape(self.seen.geometry.out_shape))
        else:
            self.compute(shaped, packed, y)
        return y

    def takes(self, operands: Operands) -> bool:
        """Whether the operands may go to the kernel as they are."""
        for name, shape, dtype, _, _ in self.operands:
            x = operands[name]
            if not (type(x) is np.ndarray and x.dtype is dtype and x.shape == shape and x.flags.carray):
                return False
        return self.takes_as_is

    def target(self, operands: Operands, out: Any, others: dict[str, Array]) -> Any:
        """Where the kernel writes the result of operands that it takes as they are; None where there is more to see to."""
        if out is None:
            cells = self.cells_in_lines
            return aligned(cells, self.out_dtype).reshape(self.out_shape) if cells else np.empty(self.out_shape, self.out_dtype)
        if not (type(out) is np.ndarray and out.dtype is self.out_dtype and out.flags.carray and out.shape == self.out_shape):
            return None
        for other in operands.values():
            if np.may_share_memory(out, other):
                return None
        for other in others.values():
            if np.may_share_memory(out, other):
                return None
        return out

    def run_converted(self, operands: Operands, out: Any, packed: Any, others: dict[str, Array]) -> Any:
        """The same for arrays that have to be converted, or that are wrong."""
        arrays = {one.name: self.checked(one, operands[one.name]) for one in self.operands}
        y = self.output(out, arrays, others)
        if packed is self.packed and turning.serves(self, arrays, out):
            found = turning.run(self, arrays, out, others)
            if found is not None:
                return found
        converted = {one.name: casting.contiguous(arrays[one.name], one.kernel_dtype) for one in self.operands}
        converted = {one.name: converted[one.name].reshape(one.kernel_shape) for one in self.operands}
        self.fill([y], lambda targets: self.compute(converted, packed, targets[0]))
        if self.form.real and not self.problem.ends_with_sums:
            whole = np.ascontiguousarray(y)  # wrapped, as sums of its integers are before their activation
            finish(whole, converted.get("residual"), self.geometry.activation)
            y[...] = whole
        return y

    def output(self, out: Any, arrays: Operands, others: dict[str, Array]) -> Array:
        """`out`, checked, or a new array."""
        if out is None:
            self.check_room()
        return check.output(out, self.out_shape, self.out_dtype, {**arrays, **others} if out is not None else {})

    def compute(self, operands: Operands, packed: Any, target: Any) -> None:
        """Run, weave phases, and finish what the implementation leaves out."""
        shape, phases = self.seen.geometry.out_shape, self.form.woven
        y = (target if phases is None else aligned(prod(shape), self.written_dtype)).reshape(shape)
        self.implementation.run(operands, packed, self.served, y)
        if self.served is not self.seen:
            finish(y, operands.get("residual"), self.geometry.activation)
        if phases is not None:
            weaving.run(y, target, phases)

    def checked(self, one: Operand, value: Any) -> Array:
        """`value` as an array of an operand's shape and dtype."""
        found = check.array(one.name, value)
        if found.shape != one.shape:
            raise ValueError(f"{one.name} must have shape {one.shape}, for which the plan was made, got {found.shape}")
        if check.native(found.dtype) != one.dtype:
            raise TypeError(f"{one.name} must have dtype {one.dtype}, for which the plan was made, got {found.dtype}")
        return found

    def fill(self, outputs: list[Array], run: Callable[[list[Array]], None]) -> None:
        """Run into the outputs, or into arrays in C order and of the dtype that is written, then copied into them."""
        if not outputs[0].size:
            return
        wanted = [self.written_dtype, *(y.dtype for y in outputs[1:])]
        targets = [
            y if y.dtype == dtype and y.flags.c_contiguous and y.flags.aligned else np.empty(y.shape, dtype)
            for y, dtype in zip(outputs, wanted, strict=True)
        ]
        run(targets)
        for y, target in zip(outputs, targets, strict=True):
            if target is not y:
                casting.fill(y, target)

    @property
    def kernel(self) -> str | None:
        """The name of the compiled kernel that runs, where the implementation has several."""
        if isinstance(self.packed, Launch):  # weights may decide
            return self.packed.kernel.__name__
        name = self.implementation.kernel
        return None if name is None else name(self.served, host())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.operation} {self.x_shape} -> {self.out_shape} by {self.implementation.name!r}>"

    def __str__(self) -> str:
        flops, types = self.geometry.flops, self.problem.types
        moved = self.geometry.bytes(types.stored.itemsize)
        kernel, summed = self.kernel, self.seen.types.summed
        lines = [
            f"{self.operation} by {self.implementation.name!r}: {self.implementation.summary}",
            *([f"  kernel   {kernel}"] if kernel else []),
            *(f"  {one.name:8} {one.shape} {one.dtype}" for one in self.operands),
            *self.details(),
            f"  output   {self.out_shape} {self.out_dtype}"
            + (f", summed in {summed}" if not types.uniform or summed != types.summed else ""),
            f"  work     {flops:,} FLOP, at least {moved:,} bytes moved, {flops / max(1, moved):.3g} FLOP a byte",
        ]
        return "\n".join(lines)

    def details(self) -> list[str]:
        """The lines of a printed plan that its kind of geometry has."""
        return []
