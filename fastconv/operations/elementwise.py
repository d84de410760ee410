"""Activations as operations of their own; a convolution applies them as it writes, which costs nothing."""

from typing import Any, ClassVar, Unpack

import numpy.typing as npt

from fastconv.operations.operation import Operation
from fastconv.operations.types import Array, PlainOptions
from fastconv.plans.kinds import ElementwisePlan
from fastconv.plans.planning import build_activation
from fastconv.plans.recall import recalled
from fastconv.problem.arguments import array
from fastconv.problem.foreign import LazyArray


class Elementwise(Operation):
    """What activations share."""

    OWN: ClassVar[Any] = {
        "x": ("array", "Of any shape. {dtypes}"),
        "out": ("array, optional", "Where to write the result; it may be `x` itself."),
        "negative_slope": ("float", "The slope below zero."),
        "low": ("number", "The least result."),
        "high": ("number", "The greatest result."),
    }
    TEMPLATE = """
{summary}, element by element; a NaN stays a NaN.

{parameters}

Returns
-------
array
    Of the shape and dtype of `x`.

{raises}
"""

    def __init__(self, name: str, summary: str, example: str, integers: bool = False) -> None:
        super().__init__(name, 0, example)
        self.summary = summary
        self.dtypes = "Real numbers." if integers else "Float types only."

    def words(self) -> dict[str, Any]:
        """What it computes, and of what, too."""
        return {"summary": self.summary, "dtypes": self.dtypes, **super().words()}

    def form(self, options: dict[str, Any]) -> Any:
        """The activation as a convolution takes it; what belongs to it is taken out of the options."""
        return self.name

    def planned(self, x_shape: Any, x_dtype: Any, options: dict[str, Any]) -> ElementwisePlan:
        """The plan for arguments by name."""
        return self.recalled(x_shape, x_dtype, options, known=False)

    def recalled(self, x_shape: Any, x_dtype: Any, options: dict[str, Any], known: bool) -> ElementwisePlan:
        """The plan, made before or now; `known`, shape and dtype are an array's."""
        form = self.form(options)
        return recalled(build_activation, self.name, (form, x_shape, x_dtype), options, known and type(form) is str)

    def applied(self, x: Any, out: Any, options: dict[str, Any]) -> Array:
        """A plan made and called once."""
        try:
            x = array("x", x)
        except LazyArray as error:
            return self.lazily({"x": x, "out": out, **options}, error)
        result: Array = self.recalled(x.shape, x.dtype, options, known=True)(x, out=out)
        return result


class Plain(Elementwise):
    """Activations without numbers: relu, relu6, silu, hardswish, gelu."""

    def __call__(self, x: npt.ArrayLike, out: Array | None = None, **options: Unpack[PlainOptions]) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        return self.applied(x, out, {**options})


class LeakyRelu(Elementwise):
    """leaky_relu."""

    def __call__(
        self, x: npt.ArrayLike, negative_slope: float = 0.01, out: Array | None = None, **options: Unpack[PlainOptions]
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        return self.applied(x, out, {"negative_slope": negative_slope, **options})

    def form(self, options: dict[str, Any]) -> Any:
        """With its slope."""
        return ("leaky_relu", options.pop("negative_slope", 0.01))


class Clip(Elementwise):
    """clip."""

    def __call__(
        self, x: npt.ArrayLike, low: float, high: float, out: Array | None = None, **options: Unpack[PlainOptions]
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        return self.applied(x, out, {"low": low, "high": high, **options})

    def form(self, options: dict[str, Any]) -> Any:
        """With its bounds."""
        return ("clip", options.pop("low"), options.pop("high"))


relu = Plain("relu", "max(x, 0)", ">>> fc.relu(np.array([-1.0, 0.0, 2.0]))\narray([0., 0., 2.])", integers=True)
relu6 = Plain("relu6", "min(max(x, 0), 6)", ">>> fc.relu6(np.array([-1.0, 3.0, 8.0]))\narray([0., 3., 6.])", integers=True)
clip = Clip(
    "clip", "min(max(x, low), high)", ">>> fc.clip(np.array([-1.0, 0.5, 2.0]), 0, 1)\narray([0. , 0.5, 1. ])", integers=True
)
leaky_relu = LeakyRelu(
    "leaky_relu",
    "x, or negative_slope * x where that is negative",
    ">>> fc.leaky_relu(np.array([-2.0, 0.0, 2.0]))\narray([-0.02,  0.  ,  2.  ])",
)
silu = Plain(
    "silu",
    "x / (1 + exp(-x)), also called swish (Elfwing, Uchibe and Doya, 2018)",
    ">>> fc.silu(np.array([-1.0, 0.0, 1.0])).round(4)\narray([-0.2689,  0.    ,  0.7311])",
)
hardswish = Plain(
    "hardswish",
    "x * min(max(x + 3, 0), 6) / 6 (Howard et al., MobileNetV3, 2019, section 5.2)",
    ">>> fc.hardswish(np.array([-4.0, 0.0, 3.0]))\narray([-0.,  0.,  3.])",
)
gelu = Plain(
    "gelu",
    "x / 2 * (1 + erf(x / sqrt(2))), without an approximation (Hendrycks and Gimpel, 2016)",
    ">>> fc.gelu(np.array([-1.0, 0.0, 1.0])).round(4)\narray([-0.1587,  0.    ,  0.8413])",
)
