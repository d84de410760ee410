"""Gradients of pools by their input, as operations. fastconv.grad has them by name."""

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import numpy.typing as npt

from fastconv.operations.gradients import GRAD_OUTPUT, INPUT_SIZE, ROW, Gradient, example, real
from fastconv.operations.types import Array, Ints, LayoutOptions, Padding
from fastconv.plans.functions import once
from fastconv.plans.gradients import build_pool_gradient, build_scatter
from fastconv.plans.plan import Plan
from fastconv.plans.recall import recalled


class BestPoolGradient(Gradient):
    """The gradient of a max or min pool: max_pool1d_input, max_pool2d_input, max_pool3d_input."""

    OPTIONS: ClassVar[Any] = LayoutOptions
    RAISES = "If an argument does not fit, or an index lies outside the input's plane."
    OWN: ClassVar[Any] = {
        "input_size": INPUT_SIZE,
        "indices": ("array of int, of the shape of `grad_output`", "Those of the pool, with return_indices."),
        "grad_output": GRAD_OUTPUT,
    }
    TEMPLATE = """
The gradient of a max or min pool over {plural} by its input: each value is added to the cell that its index names.

{parameters}

Returns
-------
array, shape `input_size`
    Of the dtype of `grad_output`.

{raises}

Notes
-----
``{name}.plan(grad_output.shape, input_size)`` is called with the gradient and the indices.
"""

    def __call__(
        self,
        input_size: Sequence[int],
        indices: npt.ArrayLike,
        grad_output: npt.ArrayLike,
        *,
        out: Array | None = None,
        **options: Unpack[LayoutOptions],
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        once({**options})
        dy = real("grad_output", grad_output)
        plan = self.planned(dy.shape, dy.dtype, {"input_size": input_size, **options})
        result: Array = plan(dy, indices, out=out)
        return result

    def planned(self, x_shape: Any, x_dtype: Any, options: dict[str, Any]) -> Plan:
        """The plan for arguments by name."""
        return recalled(build_scatter, self.name, (self.rank, x_shape, x_dtype), options)


POOL_PARAMETERS: dict[str, Any] = {
    "kernel_size": ("{ints}", "Taps of a window, and all that follows: as the pool had it."),
    "stride": ("{ints}, optional", "Cells between windows; kernel_size by default."),
    "grad_output": GRAD_OUTPUT,
}


class AveragePoolGradient(Gradient):
    """The gradient of an average: avg_pool1d_input, avg_pool2d_input, avg_pool3d_input."""

    OPTIONS: ClassVar[Any] = LayoutOptions
    OWN: ClassVar[Any] = {
        **POOL_PARAMETERS,
        "input_size": INPUT_SIZE,
        "count_include_pad": ("bool", "Whether padding counts in the divisor."),
        "divisor_override": ("int, optional", "Divides every sum, instead of a count; not 0."),
    }
    TEMPLATE = """
The gradient of an average pool over {plural} by its input: each value, over its divisor, is added to all cells of its window.

{parameters}

Returns
-------
array, shape `input_size`
    Of the dtype of `grad_output`.

{raises}

Notes
-----
``{name}.plan(grad_output.shape, input_size, kernel_size, ...)`` is called with the gradient.
"""

    def __call__(
        self,
        input_size: Sequence[int],
        grad_output: npt.ArrayLike,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        dilation: Ints = 1,
        out: Array | None = None,
        **options: Unpack[LayoutOptions],
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        once({**options})
        dy = real("grad_output", grad_output)
        given = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
        given |= {"count_include_pad": count_include_pad, "divisor_override": divisor_override, "dilation": dilation}
        result: Array = self.planned(dy.shape, dy.dtype, {"input_size": input_size, **given, **options})(dy, out=out)
        return result

    def planned(self, x_shape: Any, x_dtype: Any, options: dict[str, Any]) -> Plan:
        """The plan for arguments by name."""
        return recalled(build_pool_gradient, self.name, (self.rank, x_shape, x_dtype), {"kind": "avg", **options})


class NormPoolGradient(Gradient):
    """The gradient of a norm: lp_pool1d_input, lp_pool2d_input, lp_pool3d_input."""

    OPTIONS: ClassVar[Any] = LayoutOptions
    OWN: ClassVar[Any] = {
        **POOL_PARAMETERS,
        "input": ("array, shape ({batched}) or ({single})", "The input of the pool."),
        "output": ("array, of the shape of `grad_output`", "The result of the pool."),
        "norm_type": ("float", "The p, above 0; the cells that share the largest absolute value share an infinite norm's."),
    }
    TEMPLATE = r"""
The gradient of an Lp pool over {plural} by its input: sign(x) (\|x\| / y)**(p - 1) of each value goes to a cell of its window.

{parameters}

Returns
-------
array, of the shape of `input`
    Of the dtype of `grad_output`. Where a norm is zero, so is its gradient.

{raises}

Notes
-----
``{name}.plan(grad_output.shape, input_size, norm_type, kernel_size, ...)`` is called with input, output and gradient.
"""

    def __call__(
        self,
        input: npt.ArrayLike,
        output: npt.ArrayLike,
        grad_output: npt.ArrayLike,
        norm_type: float,
        kernel_size: Ints,
        stride: Ints | None = None,
        ceil_mode: bool = False,
        *,
        padding: Padding = 0,
        dilation: Ints = 1,
        out: Array | None = None,
        **options: Unpack[LayoutOptions],
    ) -> Array:
        """The result; see the operation's own documentation."""
        self.check_options(options)
        once({**options})
        x, y, dy = real("input", input), real("output", output), real("grad_output", grad_output)
        given: dict[str, Any] = {"norm_type": norm_type, "kernel_size": kernel_size, "stride": stride, "ceil_mode": ceil_mode}
        given |= {"padding": padding, "dilation": dilation, **options}
        plan = self.planned(dy.shape, dy.dtype, {"input_size": x.shape, **given})
        if y.shape != dy.shape:
            raise ValueError(f"output must have the shape of grad_output, {dy.shape}, got {y.shape}")
        result: Array = plan(x.astype(dy.dtype, copy=False), y.astype(dy.dtype, copy=False), dy, out=out)
        return result

    def bound(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        """Arguments by name; of a plan, the input's size comes first."""
        if not arguments:
            size = options.pop("input_size", None)
            return {"input_size": size, **super().bound((), options)}
        return {"input_size": arguments[0], **super().bound(arguments[1:], options)}

    def planned(self, x_shape: Any, x_dtype: Any, options: dict[str, Any]) -> Plan:
        """The plan for arguments by name."""
        return recalled(build_pool_gradient, self.name, (self.rank, x_shape, x_dtype), {"kind": "lp", **options})


# The operations -------------------------------------------------------------------------------------------------------


def max_pool_input(rank: int) -> BestPoolGradient:
    """max_pool{rank}d_input."""
    ones, brackets = ", 1" * (rank - 1), rank - 1
    kernel = "2" if rank == 1 else f"(1{ones[3:]}, 2)"
    lines = f">>> x = np.array([{ROW[rank]}])\n>>> y, where = fc.max_pool{rank}d(x, {kernel}, return_indices=True)\n"
    result = f"array([{'[' * brackets}[0., 1., 0., 1.]{']' * brackets}])"
    call = f"max_pool{rank}d_input(x.shape, where, np.ones_like(y))"
    return BestPoolGradient(f"max_pool{rank}d_input", rank, example(call, lines, result))


def avg_pool_input(rank: int) -> AveragePoolGradient:
    """avg_pool{rank}d_input."""
    ones, brackets = ", 1" * (rank - 1), rank - 1
    kernel = "2" if rank == 1 else f"(1{ones[3:]}, 2)"
    result = f"array([{'[' * brackets}[0.5, 0.5, 0.5, 0.5]{']' * brackets}])"
    call = f"avg_pool{rank}d_input((1{ones}, 4), np.ones((1{ones}, 2)), {kernel})"
    return AveragePoolGradient(f"avg_pool{rank}d_input", rank, example(call, "", result))


def lp_pool_input(rank: int) -> NormPoolGradient:
    """lp_pool{rank}d_input."""
    ones, brackets = ", 1" * (rank - 1), rank - 1
    kernel = "2" if rank == 1 else f"(1{ones[3:]}, 2)"
    lines = f">>> x = np.array([3.0, 4.0]).reshape(1{ones}, 2)\n>>> y = fc.lp_pool{rank}d(x, 2, {kernel})\n"
    result = f"array([{'[' * brackets}[0.6, 0.8]{']' * brackets}])"
    call = f"lp_pool{rank}d_input(x, y, np.ones_like(y), 2, {kernel})"
    return NormPoolGradient(f"lp_pool{rank}d_input", rank, example(call, lines, result))


max_pool1d_input, max_pool2d_input, max_pool3d_input = map(max_pool_input, (1, 2, 3))
avg_pool1d_input, avg_pool2d_input, avg_pool3d_input = map(avg_pool_input, (1, 2, 3))
lp_pool1d_input, lp_pool2d_input, lp_pool3d_input = map(lp_pool_input, (1, 2, 3))
