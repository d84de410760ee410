"""Convolutions and transposed convolutions over one, two and three axes."""

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import numpy as np
import numpy.typing as npt

from fastconv.operations.operation import Operation, a_shape
from fastconv.operations.types import Array, ConvOptions, Ints, Padding, TransposedOptions
from fastconv.plans.functions import convolve
from fastconv.plans.kinds import ConvPlan
from fastconv.plans.planning import plan_convolution
from fastconv.plans.pullbacks import Pullback, convolved_once
from fastconv.problem import arguments as check
from fastconv.problem.foreign import LazyArray


def weights_of(shape: Any, dtype: np.dtype[Any]) -> Array:
    """Weights of a shape, in a view that repeats one: decisions read none but the largest integer."""
    if shape is None:
        raise TypeError("w_shape must be the shape of the weights, got None")
    largest = np.iinfo(dtype).min or np.iinfo(dtype).max if dtype.kind in "iu" else 0
    return np.broadcast_to(np.array(largest, dtype), check.shape("w_shape", a_shape("w", shape)))


class Convolution(Operation):
    """Correlation with a bank of kernels: conv1d, conv2d, conv3d."""

    OPTIONS = ConvOptions
    OWN: ClassVar[Any] = {
        "w": (
            "array, shape (out_channels, channels / groups, {kernel_axes})",
            "With layout {last!r}, (out_channels, {kernel_axes}, channels / groups).",
        ),
        "bias": ("array, shape (out_channels,), optional", "Added to every position of its output channel."),
    }
    TEMPLATE = """
Correlate `x` with the kernels `w` over {plural}, as every deep-learning library does.

y[n, k, p] = activation(bias[k] + sum over c, t of x[n, c, p * stride + t * dilation - padding] * w[k, c, t] + residual).
For the convolution of signal processing, numpy.convolve's, pass the kernels reversed along every spatial axis, and
``padding`` one less than the kernel.

{parameters}

Returns
-------
array, shape (batch, out_channels, {out_axes})
    Of `dtype`, or `out`. Integers wrap; float16 is computed in float32 and rounded once.

{raises}

Notes ----- ``implementation="direct"`` keeps errors local: relative to the terms of an output's own window. What "auto" chooses
may be "winograd", "strassen", "separable" or "fft", whose errors are relative to the largest terms of a tile or a block, and a
block may be the whole of `x`. One cell of 1e8 in an image of 256 x 256 cells in 0 .. 1, under 31 x 31 random weights, makes
half of the outputs whose windows do not hold it wrong by over 0.1 %. A NaN or inf in `x` reaches the outputs whose window holds
it, and under "winograd", "strassen" and "fft" some near them.

Values of `x` and sums of products may be as large as the largest float; under "winograd" up to a 32nd of it, under "strassen"
an 8th, under "separable" a quarter, under "fft" 2**-19: 1e37, 4e37, 8e37 and 6e32 in float32.

Whole numbers in float arrays have exact sums, where those fit, but under "fft", "strassen" and "winograd" of several channels.
"auto" takes neither for whole filters of one channel up to 15 x 15.

``{name}.plan(x.shape, w, ...)`` does once what does not depend on the data.
"""

    def __call__(
        self,
        x: npt.ArrayLike,
        w: npt.ArrayLike,
        bias: npt.ArrayLike | None = None,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int = 1,
        *,
        residual: npt.ArrayLike | None = None,
        out: Array | None = None,
        **options: Unpack[ConvOptions],
    ) -> Array:
        """The result; see the operation's own documentation."""
        if options:
            self.check_options(options)
        given = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, **options}
        try:
            return convolve(self.name, self.rank, x, w, bias, residual, out, given)
        except LazyArray as error:
            return self.lazily({"x": x, "w": w, "bias": bias, "residual": residual, "out": out, **given}, error)

    def plan(  # type: ignore[override]
        self,
        x_shape: Sequence[int],
        w: npt.ArrayLike,
        bias: npt.ArrayLike | None = None,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int = 1,
        *,
        residual: bool = False,
        x_dtype: npt.DTypeLike | None = None,
        **options: Unpack[ConvOptions],
    ) -> ConvPlan:
        """Everything that does not depend on the data, done once: the choice of an implementation, and the weights packed.

        Parameters
        ----------
        x_shape : sequence of int
            The shape of the inputs to come, with or without a batch axis.
        w, bias, stride, padding, dilation, groups, **options
            As in a call. The plan keeps its own packed copy of the weights, and of floats a plain one for `vjp`.
            ``implementation="measure"`` times the candidates here and keeps the fastest; ``implementation="network"`` chooses
            as "auto" does, for one plan of many, whose weights no cache holds any more when it is called.
        residual : bool
            Whether a residual will come: ``plan(x, residual)``.
        x_dtype : dtype, optional
            Of the inputs to come; that of `w` by default.

        Returns
        -------
        ConvPlan
            ``plan(x, out=None)`` gives the result; ``print(plan)`` tells what was decided. Immutable and thread-safe.
        """
        self.check_options(options)
        given = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, **options}
        try:
            return plan_convolution(self.name, self.rank, a_shape("x", x_shape), x_dtype, w, bias, residual, given)
        except (TypeError, ValueError) as error:
            raise check.about_shapes(error) from None

    def vjp(self, *arguments: Any, **options: Any) -> tuple[Any, Pullback]:
        given = self.arguments(arguments, options)
        arrays: dict[str, Any] = {name: given.pop(name) for name in ("x", "w", "bias", "residual", "out") if name in given}
        return convolved_once(self.name, self.rank, arrays, given)

    vjp.__doc__ = Operation.vjp.__doc__

    def plan_of_shapes(self, x_shape: Any, *arguments: Any, x_dtype: np.dtype[Any], **options: Any) -> ConvPlan:
        """A plan of weights that are known by their shape, `w_shape` or the first of the arguments."""
        if "w" in options:
            raise TypeError(f"{self.name}.explain() takes w_shape, the shape of the weights, not w")
        shape, *rest = arguments or (options.pop("w_shape", None),)
        return self.plan(x_shape, weights_of(shape, x_dtype), *rest, x_dtype=x_dtype, **options)


class TransposedConvolution(Operation):
    """The adjoint of a convolution: conv_transpose1d, conv_transpose2d, conv_transpose3d."""

    OPTIONS = TransposedOptions
    OWN: ClassVar[Any] = {
        "w": (
            "array, shape (channels, out_channels / groups, {kernel_axes})",
            "With layout {last!r}, (channels, {kernel_axes}, out_channels / groups).",
        ),
        "bias": Convolution.OWN["bias"],
        "stride": ("{ints}", "Output cells between the kernels of two inputs."),
        "dilation": ("{ints}", "Output cells between the taps of a kernel."),
        "padding": (
            '{ints_or}, {pairs}, "valid", "same" or "same_lower"',
            'Cells cut off the full output. "same" gives L * stride outputs.',
        ),
        "output_padding": ("{ints}", 'Cells added to the output\'s end, below stride or dilation; 0 with "same".'),
        "groups": ("int", "Channels are split into so many groups, each with its own kernels."),
    }
    TEMPLATE = """
The adjoint of a convolution over {plural}: every input cell adds its kernel, scaled, to the output.

The output has (L - 1) * stride - 2 * padding + dilation * (k - 1) + output_padding + 1 cells on an axis of L.

{parameters}

Returns
-------
array, shape (batch, out_channels, {out_axes})
    Of `dtype`, or `out`.

{raises}
"""

    def __call__(
        self,
        x: npt.ArrayLike,
        w: npt.ArrayLike,
        bias: npt.ArrayLike | None = None,
        stride: Ints = 1,
        padding: Padding = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        dilation: Ints = 1,
        *,
        residual: npt.ArrayLike | None = None,
        out: Array | None = None,
        **options: Unpack[TransposedOptions],
    ) -> Array:
        """The result; see the operation's own documentation."""
        if options:
            self.check_options(options)
        given: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, **options}
        given["output_padding"] = output_padding
        try:
            return convolve(self.name, self.rank, x, w, bias, residual, out, given)
        except LazyArray as error:
            return self.lazily({"x": x, "w": w, "bias": bias, "residual": residual, "out": out, **given}, error)

    def plan(  # type: ignore[override]
        self,
        x_shape: Sequence[int],
        w: npt.ArrayLike,
        *arguments: Any,
        residual: bool = False,
        x_dtype: npt.DTypeLike | None = None,
        **options: Any,
    ) -> ConvPlan:
        """Everything that does not depend on the data, done once; as ``conv2d.plan``, with the arguments of a call."""
        given = self.bound(arguments, options)
        try:
            return plan_convolution(
                self.name, self.rank, a_shape("x", x_shape), x_dtype, w, given.pop("bias", None), residual, given
            )
        except (TypeError, ValueError) as error:
            raise check.about_shapes(error) from None

    plan_of_shapes = Convolution.plan_of_shapes
    vjp = Convolution.vjp


conv1d = Convolution(
    "conv1d",
    1,
    """
>>> x = np.arange(5.0)[None]
>>> w = np.ones((1, 1, 3))
>>> fc.conv1d(x, w)
array([[3., 6., 9.]])
""",
)
conv2d = Convolution(
    "conv2d",
    2,
    """
>>> x = np.arange(16.0).reshape(1, 4, 4)
>>> w = np.ones((1, 1, 3, 3))
>>> fc.conv2d(x, w)
array([[[45., 54.],
        [81., 90.]]])

Sums of small integers in a dtype that holds them, and a plan for many calls:

>>> image = np.full((1, 4, 4), 200, np.uint8)
>>> plan = fc.conv2d.plan(image.shape, np.ones((1, 1, 3, 3), np.uint8), dtype=np.int32)
>>> plan(image)
array([[[1800, 1800],
        [1800, 1800]]], dtype=int32)
""",
)
conv3d = Convolution(
    "conv3d",
    3,
    """
>>> x = np.ones((1, 2, 3, 3))
>>> w = np.ones((1, 1, 2, 2, 2))
>>> fc.conv3d(x, w)
array([[[[8., 8.],
         [8., 8.]]]])
""",
)
conv_transpose1d = TransposedConvolution(
    "conv_transpose1d",
    1,
    """
>>> x = np.array([[1.0, 2.0]])
>>> w = np.array([[[1.0, 10.0]]])
>>> fc.conv_transpose1d(x, w, stride=2)
array([[ 1., 10.,  2., 20.]])
""",
)
conv_transpose2d = TransposedConvolution(
    "conv_transpose2d",
    2,
    """
>>> x = np.ones((1, 2, 2))
>>> w = np.ones((1, 1, 2, 2))
>>> fc.conv_transpose2d(x, w)
array([[[1., 2., 1.],
        [2., 4., 2.],
        [1., 2., 1.]]])
""",
)
conv_transpose3d = TransposedConvolution(
    "conv_transpose3d",
    3,
    """
>>> x = np.ones((1, 1, 1, 2))
>>> w = np.ones((1, 1, 1, 1, 2))
>>> fc.conv_transpose3d(x, w)
array([[[[1., 2., 1.]]]])
""",
)
