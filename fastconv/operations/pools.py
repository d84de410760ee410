"""Pools with a kernel, adaptive and global ones, over one, two and three axes."""

from typing import Any, ClassVar, Unpack

import numpy.typing as npt

from fastconv.operations.operation import Operation
from fastconv.operations.types import Array, Ints, LayoutOptions, OrderPoolOptions, OutputSize, Padding, PoolOptions
from fastconv.plans.kinds import PoolPlan
from fastconv.plans.planning import plan_pool, pooled
from fastconv.problem.arguments import LazyArray, array, footprint, shape
from fastconv.problem.convolutions import LAYOUTS, Size

RANKS = {name: rank for rank, names in LAYOUTS.items() for name in names}
BESTS = {"max": "largest", "min": "smallest"}


class Pool(Operation):
    """What pools with a kernel share. `kind` is that of the problem."""

    OPTIONS: ClassVar[Any] = PoolOptions
    OWN: ClassVar[Any] = {
        "stride": ("{ints}, optional", "Cells between windows; kernel_size by default."),
        "padding": (
            '{ints_or}, {pairs}, "valid", "same" or "same_lower"',
            "Cells added around `x`; without a padding_mode at most half a window.",
        ),
        "padding_mode": (
            '{{"zeros", "constant", "reflect", "symmetric", "replicate", "circular"}}, optional',
            "What windows see in the added cells. By default they see nothing there: padding never wins, and adds nothing.",
        ),
        "out": ("array, optional", "Where to write the result; (values, indices) with return_indices."),
    }
    RAISES = "If an argument does not fit, or a window would hold nothing but padding."
    kind: str = "max"

    def planned(self, x_shape: Any, x_dtype: Any, options: dict[str, Any]) -> PoolPlan:
        """The plan for arguments by name."""
        return plan_pool(self.name, self.rank, x_shape, x_dtype, kind=self.kind, **self.named(options))

    def named(self, options: dict[str, Any]) -> dict[str, Any]:
        """Arguments by the names of problem.signatures.pool, which can be looked up."""
        return options

    def pooled(self, x: Any, out: Any, options: dict[str, Any]) -> Any:
        """A plan made and called once."""
        try:
            return pooled(self.name, self.rank, x, out, self.named(options))
        except LazyArray as error:
            return self.lazily({"x": x, "out": out, **options}, error)

    def default_of(self, option: str) -> Any:
        """Pools have no border by default."""
        return None if option == "padding_mode" else super().default_of(option)


def template(summary: str, result: str, notes: str) -> str:
    """The documentation of a pool around its parameters."""
    return f"""
{summary}

{{parameters}}

Returns
-------
array, shape (batch, channels, {{out_axes}})
    {result}

{{raises}}

Notes
-----
{notes}
"""


class SelectingPool(Pool):
    """What pools share whose result is one of the cells of a window."""

    OPTIONS: ClassVar[Any] = OrderPoolOptions
    OWN: ClassVar[Any] = {
        **Pool.OWN,
        "kernel_size": ("{ints}, or None", "Taps of a window; None where `footprint` has them."),
        "footprint": ("array of bool, shape ({axes}), optional", "The taps of a window that count; all by default."),
    }

    def named(self, options: dict[str, Any]) -> dict[str, Any]:
        """The footprint in bytes, and a rank by another name: problem.signatures.pool has a number of axes by this one."""
        if options.get("footprint") is not None:
            options = {**options, "footprint": footprint(options["footprint"])}
        if "rank" in options:
            options = {**options, "order": options["rank"]}
            del options["rank"]
        return options


class OrderPool(SelectingPool):
    """The largest or the smallest cell of windows: max_pool and min_pool."""

    TEMPLATE = template(
        "The {best} cell of each window over {plural}.",
        "Of the dtype of `x`, and an int64 array of indices with return_indices.",
        "Ties go to the first cell in row-major order. A NaN wins over all else, and its index is the first NaN's.",
    )

    def __init__(self, name: str, rank: int, example: str) -> None:
        super().__init__(name, rank, example)
        self.kind = name[:3]

    def words(self) -> dict[str, Any]:
        """Which cell wins, too."""
        return {"best": BESTS[self.kind], **super().words()}

    def __call__(
        self,
        x: npt.ArrayLike,
        kernel_size: Ints | None,
        stride: Ints | None = None,
        padding: Padding = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
        *,
        out: Any = None,
        **options: Unpack[OrderPoolOptions],
    ) -> Any:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        given: dict[str, Any] = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "ceil_mode": ceil_mode,
        }
        given |= {"ceil_mode": ceil_mode, "return_indices": return_indices, "kind": self.kind, **options}
        return self.pooled(x, out, given)


class MedianPool(SelectingPool):
    """The median of windows: median_pool."""

    kind = "rank"
    OWN: ClassVar[Any] = {
        **SelectingPool.OWN,
        "padding": ('{ints_or}, {pairs}, "valid", "same" or "same_lower"', "Cells added around `x`."),
        "padding_mode": (
            '{{"zeros", "constant", "reflect", "symmetric", "replicate", "circular"}}',
            "What windows see in the added cells, zeros by default.",
        ),
        "out": ("array, optional", "Where to write the result."),
    }
    RAISES = "If an argument does not fit."
    TEMPLATE = template(
        "The median of each window over {plural}: of n cells in order the one of rank n // 2.",
        "Of the dtype of `x`.",
        "A NaN is the last in order, as `numpy.sort` has it. A gradient goes to the cell that is the median; of equal cells\n"
        "those before it in row-major order have the smaller ranks.",
    )

    def default_of(self, option: str) -> Any:
        """Padding is part of windows, which all have one number of cells."""
        return "zeros" if option == "padding_mode" else super().default_of(option)

    def __call__(
        self,
        x: npt.ArrayLike,
        kernel_size: Ints | None,
        stride: Ints | None = None,
        padding: Padding = 0,
        dilation: Ints = 1,
        *,
        out: Array | None = None,
        **options: Unpack[OrderPoolOptions],
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        given: dict[str, Any] = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation}
        result: Array = self.pooled(x, out, {**given, "kind": self.kind, **options})
        return result


class RankPool(MedianPool):
    """The cell of a rank of windows: rank_pool."""

    OWN: ClassVar[Any] = {
        **MedianPool.OWN,
        "rank": (
            "int or None",
            "The place of the result among the cells of a window in order, from 0 on; a negative one counts from the last, -1.",
        ),
        "percentile": (
            "float, optional",
            "0 to 100, where `rank` is None: of n cells the rank n * percentile / 100, rounded down; 100 is the last.",
        ),
    }
    TEMPLATE = MedianPool.TEMPLATE.replace(
        "The median of each window over {plural}: of n cells in order the one of rank n // 2.",
        "The cell of a rank of each window over {plural}.",
    ).replace("that is the median", "that has the rank")

    def __call__(  # type: ignore[override]
        self,
        x: npt.ArrayLike,
        rank: int | None,
        kernel_size: Ints | None,
        stride: Ints | None = None,
        padding: Padding = 0,
        dilation: Ints = 1,
        *,
        percentile: float | None = None,
        out: Array | None = None,
        **options: Unpack[OrderPoolOptions],
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        given: dict[str, Any] = {"rank": rank, "percentile": percentile, "kernel_size": kernel_size}
        given |= {"stride": stride, "padding": padding, "dilation": dilation, "kind": self.kind, **options}
        result: Array = self.pooled(x, out, given)
        return result

    def named(self, options: dict[str, Any]) -> dict[str, Any]:
        """One of rank and percentile."""
        if options.get("rank") is None and options.get("percentile") is None:
            raise ValueError("rank must be an int, or None where percentile is given, got None without a percentile")
        return super().named(options)


class AveragePool(Pool):
    """The mean of windows: avg_pool."""

    kind = "avg"
    OWN: ClassVar[Any] = {
        **Pool.OWN,
        "count_include_pad": ("bool", "Whether padding counts in the divisor; what hangs over it with ceil_mode never does."),
        "divisor_override": ("int, optional", "Divides every sum, instead of a count; not 0."),
        "out": ("array, optional", "Where to write the result."),
    }
    TEMPLATE = template("The mean of each window over {plural}.", "Of the dtype of `x`.", "Integers divide toward zero.")

    def __call__(
        self,
        x: npt.ArrayLike,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        dilation: Ints = 1,
        out: Array | None = None,
        **options: Unpack[PoolOptions],
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        given: dict[str, Any] = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "ceil_mode": ceil_mode,
        }
        given |= {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad, "kind": "avg", **options}
        given["divisor_override"] = divisor_override
        result: Array = self.pooled(x, out, given)
        return result


class NormPool(Pool):
    """The norm of windows: lp_pool."""

    kind = "lp"
    OWN: ClassVar[Any] = {
        **Pool.OWN,
        "norm_type": ("float", "The p, above 0; infinity takes the largest absolute value."),
        "out": ("array, optional", "Where to write the result."),
    }
    TEMPLATE = template(
        r"The norm, (sum of \|x\|**p) ** (1 / p), of each window over {plural}.", "Of the dtype of `x`.", "Float types only."
    )

    def __call__(
        self,
        x: npt.ArrayLike,
        norm_type: float,
        kernel_size: Ints,
        stride: Ints | None = None,
        ceil_mode: bool = False,
        *,
        padding: Padding = 0,
        dilation: Ints = 1,
        out: Array | None = None,
        **options: Unpack[PoolOptions],
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        given: dict[str, Any] = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "ceil_mode": ceil_mode,
        }
        result: Array = self.pooled(x, out, {"norm_type": norm_type, "ceil_mode": ceil_mode, "kind": "lp", **given, **options})
        return result


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

INPUTS = {
    1: "x = np.array([[1.0, 5.0, 2.0, 4.0]])",
    2: "x = np.arange(16.0).reshape(1, 4, 4)",
    3: "x = np.arange(8.0).reshape(1, 2, 2, 2)",
}


def example(call: str, rank: int, result: str) -> str:
    """An example on the input that all pools of a rank show."""
    return f">>> {INPUTS[rank]}\n>>> fc.{call}\n{result}"


LARGEST = ("array([[5., 4.]])", "array([[[ 5.,  7.],\n        [13., 15.]]])", "array([[[[7.]]]])")
SMALLEST = ("array([[1., 2.]])", "array([[[ 0.,  2.],\n        [ 8., 10.]]])", "array([[[[0.]]]])")
THIRDS = "array([[[ 4.,  6.],\n        [12., 14.]]])"
MEANS = ("array([[3., 3.]])", "array([[[ 2.5,  4.5],\n        [10.5, 12.5]]])", "array([[[[3.5]]]])")
SUMS = ("array([[6., 6.]])", "array([[[10., 18.],\n        [42., 50.]]])", "array([[[[28.]]]])")

max_pool1d = OrderPool("max_pool1d", 1, example("max_pool1d(x, 2)", 1, LARGEST[0]))
max_pool2d = OrderPool("max_pool2d", 2, example("max_pool2d(x, 2)", 2, LARGEST[1]))
max_pool3d = OrderPool("max_pool3d", 3, example("max_pool3d(x, 2)", 3, LARGEST[2]))
min_pool1d = OrderPool("min_pool1d", 1, example("min_pool1d(x, 2)", 1, SMALLEST[0]))
min_pool2d = OrderPool("min_pool2d", 2, example("min_pool2d(x, 2)", 2, SMALLEST[1]))
min_pool3d = OrderPool("min_pool3d", 3, example("min_pool3d(x, 2)", 3, SMALLEST[2]))
rank_pool1d = RankPool("rank_pool1d", 1, example("rank_pool1d(x, 0, 2)", 1, SMALLEST[0]))
rank_pool2d = RankPool("rank_pool2d", 2, example("rank_pool2d(x, 2, 2)", 2, THIRDS))
rank_pool3d = RankPool("rank_pool3d", 3, example("rank_pool3d(x, -1, 2)", 3, LARGEST[2]))
median_pool1d = MedianPool("median_pool1d", 1, example("median_pool1d(x, 3, 1)", 1, "array([[2., 4.]])"))
median_pool2d = MedianPool("median_pool2d", 2, example("median_pool2d(x, 2)", 2, THIRDS))
median_pool3d = MedianPool("median_pool3d", 3, example("median_pool3d(x, 2)", 3, "array([[[[4.]]]])"))
avg_pool1d = AveragePool("avg_pool1d", 1, example("avg_pool1d(x, 2)", 1, MEANS[0]))
avg_pool2d = AveragePool("avg_pool2d", 2, example("avg_pool2d(x, 2)", 2, MEANS[1]))
avg_pool3d = AveragePool("avg_pool3d", 3, example("avg_pool3d(x, 2)", 3, MEANS[2]))
lp_pool1d = NormPool("lp_pool1d", 1, example("lp_pool1d(x, 1, 2)", 1, SUMS[0]))
lp_pool2d = NormPool("lp_pool2d", 2, example("lp_pool2d(x, 1, 2)", 2, SUMS[1]))
lp_pool3d = NormPool("lp_pool3d", 3, example("lp_pool3d(x, 1, 2)", 3, SUMS[2]))
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
