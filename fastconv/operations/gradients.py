"""Gradients of convolutions as operations, by input and by weights. fastconv.grad has them by name."""

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import numpy as np
import numpy.typing as npt

from fastconv.operations.operation import Operation
from fastconv.operations.types import Array, GradientOptions, Ints, Padding, WeightGradientOptions
from fastconv.plans.functions import once
from fastconv.plans.gradients import build_input_gradient, build_weight_gradient, differentiable, input_gradient_of
from fastconv.plans.kinds import ConvPlan
from fastconv.plans.plan import Plan
from fastconv.plans.recall import recalled
from fastconv.problem.arguments import array

INPUT_SIZE = ("sequence of int", "The shape of the input, with a batch axis where `grad_output` has one.")
GRAD_OUTPUT = ("array, shape (batch, {channels}, {out_axes})", "The gradient of the result, with or without the batch axis.")


def real(name: str, value: Any) -> Array:
    """An array of a real float type."""
    found = array(name, value)
    differentiable(name, found.dtype)
    return found


class Gradient(Operation):
    """What gradients share."""

    channels = "channels"

    def __init__(self, name: str, rank: int, example: str) -> None:
        super().__init__(name, rank, example)
        self.__module__ = "fastconv.grad"

    def words(self) -> dict[str, Any]:
        """The channels of the result of the operation itself, too."""
        return {"channels": self.channels, **super().words()}

    def __repr__(self) -> str:
        return f"<operation fastconv.grad.{self.name}>"

    def vjp(self, *arguments: Any, **options: Any) -> Any:
        """There is none."""
        raise TypeError(f"{self.name} has no vjp: gradients of gradients are not served")


class WeightGradient(Gradient):
    """The gradient of a convolution by its weights: conv1d_weight, conv2d_weight, conv3d_weight."""

    OPTIONS: ClassVar[Any] = WeightGradientOptions
    channels = "out_channels"
    OWN: ClassVar[Any] = {
        "input": ("array, shape ({batched}) or ({single})", "The input of the convolution."),
        "weight_size": (
            "sequence of int",
            "The shape of the weights, (out_channels, channels / groups, {kernel_axes}); with layout {last!r} channels last.",
        ),
        "grad_output": GRAD_OUTPUT,
        "dtype": ("dtype, optional", "Of the result and its sums; ``numpy.result_type(input, grad_output)`` by default."),
    }
    TEMPLATE = """
The gradient of a convolution over {plural} by its weights, as torch.nn.grad.{name}.

dw[k, c, t] = sum over n, p of input[n, c, p * stride + t * dilation - padding] * grad_output[n, k, p], images in their order.

{parameters}

Returns
-------
array, shape `weight_size`
    Of `dtype`, or `out`.

{raises}

Notes
-----
``{name}.plan(input.shape, weight_size, ...)`` is called with the input and the gradient.
"""

    def __call__(
        self,
        input: npt.ArrayLike,
        weight_size: Sequence[int],
        grad_output: npt.ArrayLike,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int = 1,
        *,
        out: Array | None = None,
        **options: Unpack[WeightGradientOptions],
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        once({**options})
        x, dy = real("input", input), real("grad_output", grad_output)
        given = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, **options}
        given["weight_size"] = tuple(weight_size) if isinstance(weight_size, list) else weight_size
        plan: Plan = recalled(build_weight_gradient, self.name, (self.rank, x.shape, x.dtype, dy.dtype), given)
        if dy.shape != plan.operands[1].shape:
            wanted = plan.operands[1].shape
            raise ValueError(f"grad_output must have the shape of the convolution's result, {wanted}, got {dy.shape}")
        result: Array = plan(x, dy, out=out)
        return result

    def planned(self, x_shape: Any, x_dtype: Any, options: dict[str, Any]) -> Plan:
        """The plan for arguments by name."""
        return recalled(build_weight_gradient, self.name, (self.rank, x_shape, x_dtype, None), options)


class InputGradient(Gradient):
    """The gradient of a convolution by its input: conv1d_input, conv2d_input, conv3d_input."""

    OPTIONS: ClassVar[Any] = GradientOptions
    channels = "out_channels"
    OWN: ClassVar[Any] = {
        "input_size": INPUT_SIZE,
        "weight": (
            "array, shape (out_channels, channels / groups, {kernel_axes})",
            "The weights of the convolution; with layout {last!r}, (out_channels, {kernel_axes}, channels / groups).",
        ),
        "grad_output": GRAD_OUTPUT,
        "padding_mode": (
            '{{"zeros", "constant", "reflect", "symmetric", "replicate", "circular"}}',
            "That of the convolution: cells of a border pass their gradient to the cells that they copy.",
        ),
    }
    TEMPLATE = """
The gradient of a convolution over {plural} by its input, as torch.nn.grad.{name}: a transposed convolution.

Cells that no window reached have a gradient of zero.

{parameters}

Returns
-------
array, shape `input_size`
    Of ``numpy.result_type(grad_output, weight)``, or `out`.

{raises}

Notes
-----
``{name}.plan(grad_output.shape, input_size, weight, ...)`` packs the weights once and is called with the gradient; it serves
borders of zeros.
"""

    def __call__(
        self,
        input_size: Sequence[int],
        weight: npt.ArrayLike,
        grad_output: npt.ArrayLike,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: int = 1,
        *,
        out: Array | None = None,
        **options: Unpack[GradientOptions],
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        once({**options})
        w, dy = real("weight", weight), real("grad_output", grad_output)
        given = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, **options}
        return input_gradient_of(self.rank, input_size, w, dy, out, given)

    def plan(  # type: ignore[override]
        self,
        x_shape: Sequence[int],
        input_size: Sequence[int],
        weight: npt.ArrayLike,
        *arguments: Any,
        x_dtype: npt.DTypeLike | None = None,
        **options: Any,
    ) -> ConvPlan:
        """The weights packed once: `x_shape` is the shape of the gradients to come, the others are as a call takes them."""
        given = self.bound((input_size, *arguments), options)
        return build_input_gradient(self.rank, x_shape, x_dtype, real("weight", weight), **given)

    def plan_of_shapes(self, x_shape: Any, *arguments: Any, x_dtype: np.dtype[Any], **options: Any) -> ConvPlan:
        """A plan of weights that are known by their shape."""
        size, shape, *rest = arguments
        return self.plan(x_shape, size, np.broadcast_to(np.zeros((), x_dtype), shape), *rest, x_dtype=x_dtype, **options)


# The operations -------------------------------------------------------------------------------------------------------

SETUP = "\n>>> from fastconv import grad\n"


def example(name: str, lines: str, result: str) -> str:
    """An example of one call."""
    return f"{SETUP}{lines}>>> grad.{name}\n{result}\n"


ROW = {1: "[0.0, 1.0, 2.0, 3.0]", 2: "[[0.0, 1.0, 2.0, 3.0]]", 3: "[[[0.0, 1.0, 2.0, 3.0]]]"}


def conv_weight(rank: int) -> WeightGradient:
    """conv{rank}d_weight."""
    ones, brackets = ", 1" * (rank - 1), rank - 1
    call = f"conv{rank}d_weight(x, (1, 1{ones}, 2), np.ones((1{ones}, 3)))"
    result = f"array([[{'[' * brackets}[3., 6.]{']' * brackets}]])"
    return WeightGradient(f"conv{rank}d_weight", rank, example(call, f">>> x = np.array([{ROW[rank]}])\n", result))


def conv_input(rank: int) -> InputGradient:
    """conv{rank}d_input."""
    ones, brackets = ", 1" * (rank - 1), rank - 1
    call = f"conv{rank}d_input((1{ones}, 4), w, np.ones((1{ones}, 3)))"
    result = f"array([{'[' * brackets}[ 1., 11., 11., 10.]{']' * brackets}])"
    lines = f">>> w = np.array([1.0, 10.0]).reshape(1, 1{ones}, 2)\n"
    return InputGradient(f"conv{rank}d_input", rank, example(call, lines, result))


conv1d_input, conv2d_input, conv3d_input = map(conv_input, (1, 2, 3))
conv1d_weight, conv2d_weight, conv3d_weight = map(conv_weight, (1, 2, 3))
