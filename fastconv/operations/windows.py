"""Windows as columns, and columns added back."""

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import numpy.typing as npt

from fastconv.operations.operation import Operation
from fastconv.operations.types import Array, Ints, Padding, PlainOptions
from fastconv.plans.plan import Plan
from fastconv.plans.planning import build_windows
from fastconv.plans.recall import recalled
from fastconv.problem.arguments import array
from fastconv.problem.foreign import LazyArray


class Windows(Operation):
    """What unfold and fold share."""

    def planned(self, x_shape: Any, x_dtype: Any, options: dict[str, Any]) -> Plan:
        """The plan for arguments by name."""
        return recalled(build_windows, self.name, (x_shape, x_dtype), options)


class Unfold(Windows):
    """Every window as a column: unfold."""

    OWN: ClassVar[Any] = {
        "x": (
            "array, shape (batch, channels, ...) or (channels, ...)",
            "One to three spatial axes; the length of `kernel_size` tells how many.",
        ),
        "kernel_size": ("{ints}", "Taps of a window per axis. An int means as many axes as a batched `x` has."),
    }
    TEMPLATE = """
Every window of `x` as a column: im2col.

{parameters}

Returns
-------
array, shape (batch, channels * taps, windows)
    Windows in row-major order, rows ordered by channel, then tap.

{raises}
"""

    def __call__(
        self,
        x: npt.ArrayLike,
        kernel_size: Ints,
        dilation: Ints = 1,
        padding: Padding = 0,
        stride: Ints = 1,
        *,
        out: Array | None = None,
        **options: Unpack[PlainOptions],
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        given = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding, "stride": stride, **options}
        try:
            x = array("x", x)
        except LazyArray as error:
            return self.lazily({"x": x, "out": out, **given}, error)
        result: Array = self.planned(x.shape, x.dtype, given)(x, out=out)
        return result


class Fold(Windows):
    """Columns added back to their windows: fold."""

    OWN: ClassVar[Any] = {
        "x": (
            "array, shape (batch, channels * taps, windows) or (channels * taps, windows)",
            "Columns in the order of `unfold`.",
        ),
        "output_size": ("sequence of int", "Size of the image per axis; its length tells the number of axes."),
        "kernel_size": ("{ints}", "That of the `unfold`, as are `dilation`, `padding` and `stride`."),
    }
    TEMPLATE = """
Add columns back to the windows that they came from: col2im, the adjoint of `unfold`.

{parameters}

Returns
-------
array, shape (batch, channels, *output_size)
    Cells under several windows hold the sum.

{raises}
"""

    def __call__(
        self,
        x: npt.ArrayLike,
        output_size: Sequence[int],
        kernel_size: Ints,
        dilation: Ints = 1,
        padding: Padding = 0,
        stride: Ints = 1,
        *,
        out: Array | None = None,
        **options: Unpack[PlainOptions],
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        given: dict[str, Any] = {
            "kernel_size": kernel_size,
            "dilation": dilation,
            "padding": padding,
            "stride": stride,
            **options,
        }
        try:
            x = array("x", x)
        except LazyArray as error:
            return self.lazily({"x": x, "out": out, "output_size": output_size, **given}, error)
        result: Array = self.planned(x.shape, x.dtype, {"output_size": output_size, **given})(x, out=out)
        return result


unfold = Unfold(
    "unfold",
    0,
    """
>>> fc.unfold(np.arange(4.0).reshape(1, 1, 4), (2,))
array([[[0., 1., 2.],
        [1., 2., 3.]]])
""",
)
fold = Fold(
    "fold",
    0,
    """
>>> fc.fold(np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]), (4,), (2,))
array([[0., 2., 4., 3.]])
""",
)
