"""Plans: an operation with everything decided that does not depend on the data; planning.py makes them.

Plan(x) -> checks of x and out -> implementation.run
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.memory import aligned
from fastconv.plans.registry import Implementation
from fastconv.problem import arguments as check
from fastconv.problem.convolutions import Activation, Array, ConvGeometry, Size, cached_property

LARGE = 64 << 10  # bytes of a result that begins a cache line: memory-bound kernels are 3 to 8 % faster
NOTHING: dict[str, Any] = {}


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """A chosen implementation for arrays of one shape and dtype. Immutable; any number of threads may call it at once.

    Attributes
    ----------
    operation : str
        The public function that this is a plan of.
    geometry : ConvGeometry, PoolGeometry, ...
        All sizes; its batch is 1 where arrays come without a batch axis.
    dtype, out_dtype : numpy.dtype
        Of the input and of the result.
    compute_dtype : numpy.dtype
        What the kernel computes in: float32 for float16, else `out_dtype`.
    implementation : Implementation
        The registry's record of what runs.
    x_shape, out_shape : tuple of int
        Of the input and of the result, as the caller sees them.
    packed : object
        Weights as the implementation wants them; None for operations without weights.
    """

    operation: str
    geometry: Any
    dtype: np.dtype[Any]
    out_dtype: np.dtype[Any]
    compute_dtype: np.dtype[Any]
    implementation: Implementation
    x_shape: Size
    out_shape: Size
    packed: Any = None

    @cached_property
    def takes_as_is(self) -> bool:
        """Whether an array in C order needs no conversion on its way to the kernel, nor the result on its way back."""
        same = self.dtype == self.compute_dtype == self.out_dtype
        return same and self.x_shape == self.geometry.x_shape and 0 not in self.out_shape

    @cached_property
    def cells_in_lines(self) -> int:
        """The elements of a result that is large enough to gain by beginning a cache line, else 0."""
        cells = prod(self.out_shape)
        return cells if cells * self.out_dtype.itemsize >= LARGE else 0

    def __call__(self, x: Any, out: Any = None) -> Any:
        """The result for `x`, in `out` where that is given; see the function that the plan is made for."""
        return self.run(x, out, self.packed, NOTHING)

    def run(self, x: Any, out: Any, packed: Any, others: dict[str, Array]) -> Array:
        """Check x and out, which may share memory with none of `others`, and run on packed weights."""
        y = self.target(x, out, others) if self.takes(x) else None
        if y is not None:
            self.implementation.run(x, packed, self.geometry, y)
            return y
        x = self.operand("x", x, self.dtype)
        y = check.output(out, self.out_shape, self.out_dtype, {"x": x, **others} if out is not None else {})
        operand = check.contiguous(x, self.compute_dtype).reshape(self.geometry.x_shape)
        self.fill([y], lambda targets: self.implementation.run(operand, packed, self.geometry, targets[0]))
        return y

    def takes(self, x: Any) -> bool:
        """Whether x may go to the kernel as it is."""
        same = type(x) is np.ndarray and x.dtype is self.dtype and x.shape == self.x_shape
        return same and x.flags.carray and self.takes_as_is

    def target(self, x: Array, out: Any, others: dict[str, Array]) -> Any:
        """Where the kernel writes the result of x, which it takes as it is, or None where there is more to see to."""
        if out is None:
            cells = self.cells_in_lines
            return aligned(cells, self.out_dtype).reshape(self.out_shape) if cells else np.empty(self.out_shape, self.out_dtype)
        alone = (
            type(out) is np.ndarray
            and out.dtype is self.out_dtype
            and out.flags.carray
            and out.shape == self.out_shape
            and not np.may_share_memory(out, x)
        )
        return out if alone and not any(np.may_share_memory(out, other) for other in others.values()) else None

    def operand(self, name: str, value: Any, dtype: np.dtype[Any]) -> Array:
        """`value` as an array of the plan's input shape and of `dtype`."""
        found = check.array(name, value)
        if found.shape != self.x_shape:
            raise ValueError(f"{name} must have shape {self.x_shape}, for which the plan was made, got {found.shape}")
        if check.native(found.dtype) != dtype:
            raise TypeError(f"{name} must have dtype {dtype}, for which the plan was made, got {found.dtype}")
        return found

    def fill(self, outputs: list[Array], run: Any) -> None:
        """Run into the outputs, or into arrays in C order and of the kernel's dtype that are then copied into them."""
        if not outputs[0].size:
            return
        wanted = [self.compute_dtype, *(y.dtype for y in outputs[1:])]
        targets = [
            y if y.dtype == dtype and y.flags.c_contiguous and y.flags.aligned else np.empty(y.shape, dtype)
            for y, dtype in zip(outputs, wanted, strict=True)
        ]
        run([target.reshape(self.geometry.out_shape) for target in targets])
        for y, target in zip(outputs, targets, strict=True):
            if target is not y:
                with np.errstate(over="ignore", invalid="ignore"):
                    y[...] = target

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.operation} {self.x_shape} -> {self.out_shape} by {self.implementation.name!r}>"

    def __str__(self) -> str:
        flops = self.geometry.flops
        moved = self.geometry.bytes(self.dtype.itemsize)
        lines = [
            f"{self.operation} by {self.implementation.name!r}: {self.implementation.summary}",
            f"  x        {self.x_shape} {self.dtype}",
            *self.details(),
            f"  output   {self.out_shape} {self.out_dtype}",
            f"  work     {flops:,} FLOP, at least {moved:,} bytes moved, {flops / max(1, moved):.3g} FLOP a byte",
        ]
        return "\n".join(lines)

    def details(self) -> list[str]:
        """The lines of a printed plan that its kind of geometry has."""
        return []


@dataclass(frozen=True, eq=False, repr=False)
class ConvPlan(Plan):
    """A plan of a convolution or transposed convolution, with its weights packed."""

    def packing(self, w: Array, bias: Array) -> Any:
        """Weights of the plan's shape and compute_dtype, in C order, as its implementation takes them."""
        return self.implementation.pack(w, bias, self.geometry)  # type: ignore[misc]

    @property
    def kernel(self) -> str | None:
        """The name of the compiled kernel, where the implementation has several."""
        first = self.packed[0] if isinstance(self.packed, tuple) and self.packed else None
        found = getattr(self.packed, "kernel", getattr(first, "kernel", None))
        return getattr(found, "__name__", None)

    def details(self) -> list[str]:
        """Weights as given and as packed, steps, padding, activation."""
        g: ConvGeometry = self.geometry
        padding = ", ".join(f"{before}+{after}" for before, after in g.padding)
        lines = [
            f"  w        {g.w_shape}, packed as {described(self.packed)}",
            f"  layout   {g.layout}, {g.groups} group{'s' * (g.groups > 1)} of {g.in_per_group} -> {g.out_per_group} channels",
            f"  steps    stride {g.stride}, dilation {g.dilation}, padding {padding} of {g.padding_mode}",
        ]
        if any(g.output_padding):
            lines.append(f"  extra    output_padding {g.output_padding}")
        if g.activation.kind != "none":
            lines.append(f"  then     {activation_name(g.activation)}")
        return lines


@dataclass(frozen=True, eq=False, repr=False)
class PoolPlan(Plan):
    """A plan of a pool."""

    def __call__(self, x: Any, out: Any = None) -> Any:
        """The result for `x`, or (values, indices); `out` is one array, or two, alike."""
        if not self.geometry.return_indices:
            return self.run(x, out, None, NOTHING)
        x = self.operand("x", x, self.dtype)
        values, indices = (None, None) if out is None else self._pair(out)
        values = check.output(values, self.out_shape, self.out_dtype, {"x": x}, "out[0]")
        indices = check.output(indices, self.out_shape, np.dtype(np.int64), {"x": x, "out[0]": values}, "out[1]")
        operand = check.contiguous(x, self.compute_dtype).reshape(self.geometry.x_shape)
        self.fill([values, indices], lambda both: self.implementation.run(operand, None, self.geometry, tuple(both)))
        return values, indices

    @staticmethod
    def _pair(out: Any) -> tuple[Any, Any]:
        if not isinstance(out, (tuple, list)) or len(out) != 2:
            raise TypeError(f"out must be two arrays, (values, indices), with return_indices, got {type(out).__name__}")
        return out[0], out[1]

    def details(self) -> list[str]:
        """Window, steps and padding."""
        g = self.geometry
        if g.adaptive:
            return [f"  layout   {g.layout}"]
        padding = ", ".join(f"{before}+{after}" for before, after in g.padding)
        return [f"  window   {g.kernel}, stride {g.stride}, dilation {g.dilation}, padding {padding}", f"  layout   {g.layout}"]


@dataclass(frozen=True, eq=False, repr=False)
class UnpoolPlan(Plan):
    """A plan of a max_unpool: called with values and their indices."""

    def __call__(self, x: Any, indices: Any = None, out: Any = None) -> Any:  # type: ignore[override]
        """The larger map that holds `x` at `indices`."""
        x = self.operand("x", x, self.dtype)
        where = check.array("indices", indices)
        if where.dtype.kind not in "iu":
            raise TypeError(f"indices must be integers, got dtype {where.dtype}")
        if where.shape != self.x_shape:
            raise ValueError(f"indices must have the shape of x, {self.x_shape}, got {where.shape}")
        plane = int(np.prod(self.geometry.out_size, dtype=object))
        # Without their sign, indices below zero are the largest.
        unsigned = where.view(np.dtype(f"u{where.dtype.itemsize}")) if where.dtype.isnative else where.astype(np.uint64)
        if where.size and unsigned.max() >= plane:
            raise ValueError(
                f"indices must lie in 0 .. {plane - 1}, the cells of an output plane, got {where.min()} .. {where.max()}"
            )
        y = check.output(out, self.out_shape, self.out_dtype, {"x": x, "indices": where})
        operands = (
            check.contiguous(x, self.compute_dtype).reshape(self.geometry.x_shape),
            check.contiguous(where, np.dtype(np.int64)).reshape(self.geometry.x_shape),
        )
        self.fill([y], lambda targets: self.implementation.run(operands, None, self.geometry, targets[0]))
        return y


@dataclass(frozen=True, eq=False, repr=False)
class ElementwisePlan(Plan):
    """A plan of an activation; `out` may be `x` itself."""

    def run(self, x: Any, out: Any, packed: Any, others: dict[str, Array]) -> Array:
        """Check x and out and run, in place where they are one array."""
        y = None if not self.takes(x) else x if out is x else self.target(x, out, others)
        if y is not None:
            self.implementation.run(x, None, self.geometry, y)
            return y
        x = self.operand("x", x, self.dtype)
        in_place = isinstance(out, np.ndarray) and x.ctypes.data == out.ctypes.data and x.strides == out.strides
        y = check.output(out, self.out_shape, self.out_dtype, {} if in_place or out is None else {"x": x})
        operand = check.contiguous(x, self.compute_dtype)
        self.fill([y], lambda targets: self.implementation.run(operand, None, self.geometry, targets[0]))
        return y


def described(packed: Any) -> str:
    """Shapes and bytes of packed weights."""
    parts = packed if isinstance(packed, tuple) else ()
    arrays = [
        array for part in parts for array in (part if isinstance(part, tuple) else (part,)) if isinstance(array, np.ndarray)
    ]
    shapes = " and ".join(str(array.shape) for array in arrays)
    return f"{shapes}, {sum(array.nbytes for array in arrays):,} bytes"


def activation_name(activation: Activation) -> str:
    """An activation as a user would write it."""
    kind, low, high = activation
    if kind == "clip":
        return f"clip to {low:g} .. {high:g}"
    return f"leaky_relu of slope {low:g}" if kind == "leaky_relu" else kind
