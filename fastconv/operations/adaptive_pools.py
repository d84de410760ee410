"""Adaptive pools, which share the input out, and global ones, over whole maps."""

from typing import Any, ClassVar, Unpack

import numpy.typing as npt

from fastconv.operations.operation import Operation
from fastconv.operations.pools import LARGEST, MEANS, Pool, example
from fastconv.operations.types import Array, LayoutOptions, OutputSize
from fastconv.plans.functions import pooled
from fastconv.plans.kinds import PoolPlan
from fastconv.plans.planning import plan_pool
from fastconv.problem.arguments import array, shape
from fastconv.problem.convolutions import LAYOUTS, Size
from fastconv.problem.foreign import LazyArray

RANKS = {name: rank for rank, names in LAYOUTS.items() for name in names}

ADAPTIVE = """
{summary} of windows that share `x` out among `output_size` outputs over {{plural}}.

Output o of O covers the cells floor(o * L / O) to ceil((o + 1) * L / O) - 1 of an axis of L.

{{parameters}}

Returns
-------
array, shape (batch, channels, *output_size)
    {result}

{{raises}}
"""


class AdaptiveMaxPool(Pool):
    """The largest cell of windows that share the input out: adaptive_max_pool."""

    OPTIONS: ClassVar[Any] = LayoutOptions
    RAISES = Operation.RAISES
    TEMPLATE = ADAPTIVE.format(
        summary="The largest cell", result="Of the dtype of `x`, and an int64 array of indices with return_indices."
    )

    def __call__(
        self,
        x: npt.ArrayLike,
        output_size: OutputSize,
        return_indices: bool = False,
        *,
        out: Any = None,
        **options: Unpack[LayoutOptions],
    ) -> Any:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        given = {"output_size": output_size, "return_indices": return_indices, "kind": "max", **options}
        return self.pooled(x, out, given)


class AdaptiveAveragePool(Pool):
    """The mean of windows that share the input out: adaptive_avg_pool."""

    OPTIONS: ClassVar[Any] = LayoutOptions
    RAISES = Operation.RAISES
    kind = "avg"
    OWN: ClassVar[Any] = {"out": ("array, optional", "Where to write the result.")}
    TEMPLATE = ADAPTIVE.format(summary="The mean", result="Of the dtype of `x`.")

    def __call__(
        self, x: npt.ArrayLike, output_size: OutputSize, *, out: Array | None = None, **options: Unpack[LayoutOptions]
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        result: Array = self.pooled(x, out, {"output_size": output_size, "kind": "avg", **options})
        return result


class GlobalPool(Pool):
    """Pools over whole maps: global_avg_pool and global_max_pool."""

    OPTIONS: ClassVar[Any] = LayoutOptions
    RAISES = "If an argument does not fit, or a map has no cells."
    OWN: ClassVar[Any] = {
        "x": ("array, shape (batch, channels, ...)", "With a batch axis, unless `layout` tells the number of axes."),
        "layout": ("str, optional", '"NCL", "NCHW", "NCDHW" or a channels-last one; channels first by default.'),
        "out": ("array, optional", "Where to write the result."),
    }
    TEMPLATE = """
{summary} of each whole map, over one to three axes, which stay as axes of one cell.

{parameters}

Returns
-------
array, shape (batch, channels, 1, ...)
    Of the dtype of `x`.

{raises}
"""

    def __init__(self, name: str, example: str) -> None:
        super().__init__(name, 0, example)
        self.kind = name.split("_")[1]

    def words(self) -> dict[str, Any]:
        """What a map becomes, too."""
        return {"summary": "The mean" if self.kind == "avg" else "The largest cell", **super().words()}

    def __call__(self, x: npt.ArrayLike, *, out: Array | None = None, **options: Unpack[LayoutOptions]) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        try:
            x = array("x", x)
        except LazyArray as error:
            return self.lazily({"x": x, "out": out, **options}, error)
        rank, size = pooled_rank(x.shape, options.get("layout"))
        given: dict[str, Any] = {"kernel_size": size, "stride": 1, "kind": self.kind, **options}
        result: Array = pooled(self.name, rank, x, out, given)
        return result

    def planned(self, x_shape: Any, x_dtype: Any, options: dict[str, Any]) -> PoolPlan:
        """The plan for arguments by name."""
        rank, size = pooled_rank(shape("x_shape", x_shape), options.get("layout"))
        return plan_pool(self.name, rank, x_shape, x_dtype, kernel_size=size, stride=1, kind=self.kind, **options)


def pooled_rank(size: Size, layout: str | None) -> tuple[int, Size]:
    """(number of spatial axes, their sizes) of a global pool's input."""
    if layout is not None and (not isinstance(layout, str) or layout not in RANKS):
        raise ValueError(f"layout must be None or one of {tuple(RANKS)}, got {layout!r}")
    rank = len(size) - 2 if layout is None else RANKS[layout]
    if not 1 <= rank <= 3 or len(size) not in (rank + 1, rank + 2):
        raise ValueError(
            f"x must have a batch, a channel and 1 to 3 spatial axes, or a layout that names its axes, got shape {size} and "
            f"layout {layout!r}"
        )
    last = layout is not None and layout == LAYOUTS[rank][1]
    spatial = tuple(size[len(size) - rank - last : len(size) - last])
    if 0 in spatial:
        raise ValueError(f"x must have cells on every spatial axis, got shape {size}")
    return rank, spatial


# The operations -------------------------------------------------------------------------------------------------------

adaptive_max_pool1d = AdaptiveMaxPool("adaptive_max_pool1d", 1, example("adaptive_max_pool1d(x, 2)", 1, LARGEST[0]))
adaptive_max_pool2d = AdaptiveMaxPool("adaptive_max_pool2d", 2, example("adaptive_max_pool2d(x, 2)", 2, LARGEST[1]))
adaptive_max_pool3d = AdaptiveMaxPool("adaptive_max_pool3d", 3, example("adaptive_max_pool3d(x, 1)", 3, LARGEST[2]))
adaptive_avg_pool1d = AdaptiveAveragePool("adaptive_avg_pool1d", 1, example("adaptive_avg_pool1d(x, 2)", 1, MEANS[0]))
adaptive_avg_pool2d = AdaptiveAveragePool("adaptive_avg_pool2d", 2, example("adaptive_avg_pool2d(x, 2)", 2, MEANS[1]))
adaptive_avg_pool3d = AdaptiveAveragePool("adaptive_avg_pool3d", 3, example("adaptive_avg_pool3d(x, 1)", 3, MEANS[2]))
MAPS = ">>> x = np.arange(8.0).reshape(1, 2, 2, 2)\n>>> "
global_avg_pool = GlobalPool(
    "global_avg_pool", MAPS + "fc.global_avg_pool(x)\narray([[[[1.5]],\n<BLANKLINE>\n        [[5.5]]]])"
)
global_max_pool = GlobalPool("global_max_pool", MAPS + "fc.global_max_pool(x)\narray([[[[3.]],\n<BLANKLINE>\n        [[7.]]]])")
