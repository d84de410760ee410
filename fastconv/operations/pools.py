"""Pools with a kernel, over one, two and three axes."""

from typing import Any, ClassVar, Unpack

import numpy.typing as npt

from fastconv.operations.operation import Operation
from fastconv.operations.types import Array, Ints, OrderPoolOptions, Padding, PoolOptions
from fastconv.plans.functions import pooled
from fastconv.plans.kinds import PoolPlan
from fastconv.plans.planning import plan_pool
from fastconv.problem.arguments import footprint
from fastconv.problem.foreign import LazyArray

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
            "return_indices": return_indices,
            "kind": self.kind,
            **options,
        }
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
