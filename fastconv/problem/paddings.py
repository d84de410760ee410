"""What users pass for padding: how many cells are added before and after each axis, and what they hold."""

from typing import Any

import numpy as np

from fastconv.problem.arguments import LARGEST, integer, is_sequence, number, numeric, per_axis
from fastconv.problem.borders import PADDING_MODES, ZEROS, Border
from fastconv.problem.convolutions import Pairs, Size, same_padding, same_transposed


def padding(value: Any, rank: int, size: Size, kernel: Size, stride: Size, dilation: Size) -> Pairs:
    """An int; one int per axis; one (before, after) pair per axis; "valid"; "same" or "same_lower"."""
    if isinstance(value, str):
        if value == "valid":
            return ((0, 0),) * rank
        if value in ("same", "same_lower"):
            lower = value == "same_lower"
            return tuple(same_padding(*axis, lower=lower) for axis in zip(size, kernel, stride, dilation, strict=True))
        raise ValueError(f'padding must be "valid", "same", "same_lower", ints or pairs of ints, got {value!r}')
    if isinstance(value, np.ndarray) and value.ndim == 2:
        value = value.tolist() if value.dtype.kind in "iu" else list(map(tuple, value))
    if isinstance(value, (tuple, list)) and value and is_sequence(value[0]):
        if len(value) != rank or any(not is_sequence(pair) or len(pair) != 2 for pair in value):
            raise ValueError(f"padding must be one (before, after) pair for each of {rank} axes, got {value!r}")
        return tuple((integer("padding", before, 0), integer("padding", after, 0)) for before, after in value)
    return tuple((cells, cells) for cells in per_axis("padding", value, rank, 0))


def transposed_padding(
    value: Any, output_padding: Any, rank: int, kernel: Size, stride: Size, dilation: Size
) -> tuple[Pairs, Size]:
    """(padding, output_padding) of a transposed convolution; "same" gives an output of size * stride."""
    extra = per_axis("output_padding", output_padding, rank, 0)
    if isinstance(value, str) and value in ("same", "same_lower"):
        if any(extra):
            raise ValueError(f"output_padding must be 0 when padding is {value!r}, got {output_padding!r}")
        resolved = [same_transposed(*axis, lower=value == "same_lower") for axis in zip(kernel, stride, dilation, strict=True)]
        return tuple(pair for pair, _ in resolved), tuple(more for _, more in resolved)
    for more, step, spread in zip(extra, stride, dilation, strict=True):
        if more >= max(step, spread):
            raise ValueError(
                f"output_padding must be smaller than stride or dilation, got output_padding {extra}, stride {stride}, "
                f"dilation {dilation}"
            )
    return padding(value, rank, (0,) * rank, kernel, stride, dilation), extra


def border(mode: Any, fill: Any, size: Size, pads: Pairs, dtype: np.dtype[Any]) -> Border:
    """A border that the input is large enough for; of the value zero, "constant" is "zeros"."""
    if not isinstance(mode, str) or mode not in PADDING_MODES:
        raise ValueError(f"padding_mode must be one of {PADDING_MODES}, got {mode!r}")
    for axis, (cells, pair) in enumerate(zip(size, pads, strict=True)):
        most = {"reflect": max(0, cells - 1), "circular": cells}.get(mode, LARGEST if cells else 0)
        if max(pair) > (LARGEST if mode in ("zeros", "constant") else most):
            raise ValueError(
                f"padding must be at most {most} on axis {axis} of {cells} cells with padding_mode {mode!r}, got {pair}"
            )
    if fill is not None:
        numeric("padding_value", fill)
    if mode == "constant":
        return Border(mode, number("padding_value", fill, dtype)) if fill is not None and fill != 0 else ZEROS
    if fill is not None and fill != 0:
        raise ValueError(f'padding_value is for padding_mode "constant", got {fill!r} with {mode!r}')
    return Border(mode)
