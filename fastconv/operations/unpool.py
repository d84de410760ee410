"""Undoing max pools over one, two and three axes."""

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import numpy.typing as npt

from fastconv.operations.operation import Operation
from fastconv.operations.types import Array, Ints, LayoutOptions
from fastconv.plans.kinds import UnpoolPlan
from fastconv.plans.planning import build_unpool
from fastconv.plans.recall import recalled
from fastconv.problem.arguments import array
from fastconv.problem.foreign import LazyArray


class MaxUnpool(Operation):
    """Values back to where a max pool found them: max_unpool."""

    OPTIONS: ClassVar[Any] = LayoutOptions
    RAISES = "If an argument does not fit, or an index lies outside the output plane."
    OWN: ClassVar[Any] = {
        "indices": (
            "array of int, of the shape of `x`",
            "Cells counted inside one output plane. Of equal indices the last one's value stays.",
        ),
        "kernel_size": (
            "{ints}",
            "That of the pool; the output has (L - 1) * stride - 2 * padding + kernel_size cells on an axis of L.",
        ),
        "stride": ("{ints}, optional", "That of the pool; kernel_size by default."),
        "padding": ("{ints}", "That of the pool."),
        "output_size": (
            "sequence of int, optional",
            "Another output size, less than one stride from the usual one; its last {rank} count.",
        ),
    }
    TEMPLATE = """
Undo a max pool over {plural}: each value goes to the cell that its index names, the others are zero.

{parameters}

Returns
-------
array, shape (batch, channels, {out_axes})
    Of the dtype of `x`.

{raises}
"""

    def __call__(
        self,
        x: npt.ArrayLike,
        indices: npt.ArrayLike,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        output_size: Sequence[int] | None = None,
        *,
        out: Array | None = None,
        **options: Unpack[LayoutOptions],
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        given = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "output_size": output_size, **options}
        try:
            x = array("x", x)
            indices = array("indices", indices)
        except LazyArray as error:
            return self.lazily({"x": x, "indices": indices, "out": out, **given}, error)
        result: Array = self.planned(x.shape, x.dtype, given)(x, indices, out=out)
        return result

    def planned(self, x_shape: Any, x_dtype: Any, options: dict[str, Any]) -> UnpoolPlan:
        """The plan for arguments by name."""
        return recalled(build_unpool, self.name, (self.rank, x_shape, x_dtype), options)


max_unpool1d = MaxUnpool(
    "max_unpool1d",
    1,
    """
>>> x = np.array([[1.0, 5.0, 2.0, 4.0]])
>>> y, where = fc.max_pool1d(x, 2, return_indices=True)
>>> fc.max_unpool1d(y, where, 2)
array([[0., 5., 0., 4.]])
""",
)
max_unpool2d = MaxUnpool(
    "max_unpool2d",
    2,
    """
>>> x = np.arange(4.0).reshape(1, 2, 2)
>>> y, where = fc.max_pool2d(x, 2, return_indices=True)
>>> fc.max_unpool2d(y, where, 2)
array([[[0., 0.],
        [0., 3.]]])
""",
)
max_unpool3d = MaxUnpool(
    "max_unpool3d",
    3,
    """
>>> x = np.arange(8.0).reshape(1, 2, 2, 2)
>>> y, where = fc.max_pool3d(x, 2, return_indices=True)
>>> fc.max_unpool3d(y, where, 2)
array([[[[0., 0.],
         [0., 0.]],
<BLANKLINE>
        [[0., 0.],
         [0., 7.]]]])
""",
)
