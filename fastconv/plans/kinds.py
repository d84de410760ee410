"""Plans of each kind: what they add to a plan of any operation.

convolutions and transposed ones, pools, pools with indices, unpooling, activations
"""

from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.simd.arrays import casting
from fastconv.plans import turning
from fastconv.plans.plan import Dtype, Operand, Plan
from fastconv.problem import arguments as check
from fastconv.problem.convolutions import Activation, Array, ConvGeometry, cached_property
from fastconv.problem.problem import Operands


class Weights(NamedTuple):
    """What gradients need of the weights that a plan has packed.

    Attributes
    ----------
    w : array
        A copy, as the caller passed it.
    bias : array
        In the dtype of the sums; zeros where none was given.
    bias_dtype : numpy.dtype or None
        Of the bias, where one was given.
    """

    w: Array
    bias: Array
    bias_dtype: Dtype | None = None


@dataclass(frozen=True, eq=False, repr=False)
class ConvPlan(Plan):
    """A plan of a convolution or transposed convolution, with its weights packed."""

    weights: Weights | None = None

    @cached_property
    def weights_dtype(self) -> Dtype:
        """What the implementation packs: the weights as they are stored, or in the dtype of the sums."""
        types = self.seen.types
        return types.weights if self.implementation.reads(self.seen) else types.summed

    @cached_property
    def as_given(self) -> bool:
        """Whether the weights lie in memory as the implementation is asked to pack them."""
        return self.form.phases is None and not self.form.cut

    def seen_weights(self, w: Array) -> Array:
        """Weights as the implementation is asked to pack them: in weights_dtype and C order."""
        if self.as_given and w.dtype is self.weights_dtype and w.flags.carray:
            return w.reshape(self.seen.geometry.w_shape)
        return self.form.weights(casting.contiguous(w, self.weights_dtype), self.geometry.channels_last)

    def packing(self, w: Array, bias: Array) -> Any:
        """Weights as the implementation takes them, of those that `seen_weights` gives."""
        return self.implementation.pack(w, self.form.bias(bias), self.served)  # type: ignore[misc]

    def details(self) -> list[str]:
        """Weights as given and as packed, steps, padding, activation."""
        g: ConvGeometry = self.geometry
        padding = ", ".join(f"{before}+{after}" for before, after in g.padding)
        border = g.border.mode + (f" {g.border.value:g}" if g.border.value else "")
        lines = [
            f"  w        {g.w_shape}, packed as {described(self.packed)}",
            f"  layout   {g.layout}, {g.groups} group{'s' * (g.groups > 1)} of {g.in_per_group} -> {g.out_per_group} channels",
            f"  steps    stride {g.stride}, dilation {g.dilation}, padding {padding} of {border}",
        ]
        if self.seen is not self.problem:
            seen, of = self.seen.geometry, ""
            if self.form.phases is not None:
                of = ", by mirrored weights" if self.form.woven is None else ", its phases then woven"
            lines.append(f"  seen as  {seen.x_shape} by {seen.w_shape}, {seen.layout}{of}")
        if any(g.output_padding):
            lines.append(f"  extra    output_padding {g.output_padding}")
        if g.activation.kind != "none":
            lines.append(f"  then     {activation_name(g.activation)}")
        return lines


@dataclass(frozen=True, eq=False, repr=False)
class PoolPlan(Plan):
    """A plan of a pool."""

    def details(self) -> list[str]:
        """Window, steps and padding."""
        g = self.geometry
        if g.adaptive:
            return [f"  layout   {g.layout}"]
        padding = ", ".join(f"{before}+{after}" for before, after in g.padding)
        padding += f" of {g.border.mode}" if g.border is not None else ""
        return [f"  window   {g.kernel}, stride {g.stride}, dilation {g.dilation}, padding {padding}", f"  layout   {g.layout}"]


@dataclass(frozen=True, eq=False, repr=False)
class IndicesPlan(PoolPlan):
    """A plan of a pool with indices: a call's result, and `out`, are two arrays alike."""

    def run(self, operands: Operands, out: Any, packed: Any, others: dict[str, Array]) -> Any:
        """(values, indices)."""
        (one,) = self.operands
        x = self.checked(one, operands["x"])
        if out is None:
            self.check_room()
        values, indices = (None, None) if out is None else self._pair(out)
        values = check.output(values, self.out_shape, self.out_dtype, {"x": x}, "out[0]")
        indices = check.output(indices, self.out_shape, np.dtype(np.int64), {"x": x, "out[0]": values}, "out[1]")
        both = None if out is None else (values, indices)
        if turning.serves(self, {"x": x}, both):
            return turning.run(self, {"x": x}, both, others)
        operand = {"x": casting.contiguous(x, one.kernel_dtype).reshape(one.kernel_shape)}
        shape = self.seen.geometry.out_shape
        self.fill(
            [values, indices],
            lambda both: self.implementation.run(operand, None, self.seen, tuple(one.reshape(shape) for one in both)),
        )
        return values, indices

    @staticmethod
    def _pair(out: Any) -> tuple[Any, Any]:
        if not isinstance(out, (tuple, list)) or len(out) != 2:
            raise TypeError(f"out must be two arrays, (values, indices), with return_indices, got {type(out).__name__}")
        return out[0], out[1]


@dataclass(frozen=True, eq=False, repr=False)
class UnpoolPlan(Plan):
    """A plan of a max_unpool: called with values and their indices."""

    def checked(self, one: Operand, value: Any) -> Array:
        """The values; or indices of any integer type, which must lie in the output."""
        if one.name != "indices":
            return super().checked(one, value)
        where = check.array("indices", value)
        if where.dtype.kind not in "iu":
            raise TypeError(f"indices must be integers, got dtype {where.dtype}")
        if where.shape != one.shape:
            raise ValueError(f"indices must have the shape of {self.operands[0].name}, {one.shape}, got {where.shape}")
        plane = prod(self.geometry.out_size)
        # Without their sign, indices below zero are the largest.
        unsigned = where.view(np.dtype(f"u{where.dtype.itemsize}")) if where.dtype.isnative else where.astype(np.uint64)
        if where.size and unsigned.max() >= plane:
            allowed = f"in 0 .. {plane - 1}, the cells of an output plane" if plane else "nowhere: an output plane has no cells"
            raise ValueError(f"indices must lie {allowed}, got {where.min()} .. {where.max()}")
        return where

    def takes(self, operands: Operands) -> bool:
        """Never unseen: indices are looked over."""
        return False


@dataclass(frozen=True, eq=False, repr=False)
class ElementwisePlan(Plan):
    """A plan of an activation; `out` may be `x` itself."""

    def run(self, operands: Operands, out: Any, packed: Any, others: dict[str, Array]) -> Any:
        """The result, in memory of the same order as x's where x is a transposed view of an array in C order."""
        x = operands["x"]
        if out is None and type(x) is np.ndarray and x.ndim > 1 and not x.flags.c_contiguous and x.shape == self.out_shape:
            order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
            seen = x.transpose(order)
            if seen.flags.c_contiguous:
                y = super().run({"x": seen.reshape(x.shape)}, None, packed, others)
                return y.reshape(seen.shape).transpose(np.argsort(order))
        return super().run(operands, out, packed, others)

    def target(self, operands: Operands, out: Any, others: dict[str, Array]) -> Any:
        """Where the kernel writes, in place where x and out are one array."""
        return out if out is operands["x"] else super().target(operands, out, others)

    def output(self, out: Any, arrays: Operands, others: dict[str, Array]) -> Array:
        """`out`, which may be x, or have its very cells."""
        x = arrays["x"]
        in_place = isinstance(out, np.ndarray) and x.ctypes.data == out.ctypes.data and x.strides == out.strides
        return super().output(out, {} if in_place else arrays, others)


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
