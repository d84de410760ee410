"""The arguments of each operation, checked together: shapes and parameters in, a geometry out."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv.problem import arguments as check
from fastconv.problem import paddings
from fastconv.problem.borders import ZEROS, Border
from fastconv.problem.convolutions import LAYOUTS, ConvGeometry, Pairs, Size
from fastconv.problem.orders import pool_order, pool_window
from fastconv.problem.pools import PoolGeometry, UnpoolGeometry
from fastconv.problem.walks import window_extent
from fastconv.problem.windows import FoldGeometry

FARTHEST = 2**48  # cells of an axis with its padding: offsets of a few blocks beyond them fit 64 bits
STEP = 2**31  # cells: a longer step, of which an axis has none, is as good as this one


def _fits(name: str, shape: Size) -> None:
    if math.prod(shape) * 16 > check.LARGEST:
        raise ValueError(f"{name} give an output of shape {shape}: more than a 64-bit offset can reach")


def _padded(size: Size, pads: Pairs, dilation: Size) -> Size:
    """Cells of each axis with its padding."""
    found = tuple(cells + sum(pair) for cells, pair in zip(size, pads, strict=True))
    for axis, cells in enumerate(found):
        if cells > FARTHEST:
            raise ValueError(
                f"padding must leave axes of at most 2**48 cells, for 64-bit offsets, got {pads[axis]} on axis {axis} of "
                f"{size[axis]} cells, at dilation {dilation[axis]}"
            )
    return found


def _within(steps: Size, cells: Size) -> Size:
    """Strides or dilations, those that no second output or tap has cut to what kernels count with."""
    return tuple(min(step, max(most, STEP)) for step, most in zip(steps, cells, strict=True)) if max(steps) > STEP else steps


def convolution(
    x_shape: Size,
    w_shape: Size,
    dtype: np.dtype[Any],
    *,
    rank: int,
    transposed: bool,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    output_padding: Any = 0,
    padding_mode: Any = "zeros",
    padding_value: Any = None,
    activation: Any = None,
    layout: Any = None,
) -> ConvGeometry:
    """The geometry of conv*d or conv_transpose*d on a batched shape."""
    last = check.channels_last(layout, rank)
    groups = check.integer("groups", groups, 1)
    if len(w_shape) != rank + 2:
        raise ValueError(f"w must have {rank + 2} dimensions (two of channels, {rank} spatial), got shape {w_shape}")
    channels, size = (x_shape[-1], x_shape[1:-1]) if last else (x_shape[1], x_shape[2:])
    first, second, kernel = (w_shape[0], w_shape[-1], w_shape[1:-1]) if last else (w_shape[0], w_shape[1], w_shape[2:])
    if min(kernel) < 1:
        raise ValueError(f"w must have a kernel of at least one cell per axis, got shape {w_shape}")
    if channels % groups:
        raise ValueError(f"groups must divide the {channels} channels of x, got {groups}")
    others = first if transposed else second * groups
    hint = f'; for channels on the last axis of x and w pass layout="{LAYOUTS[rank][1]}"' if x_shape[-1] == others else ""
    _check_weight_channels(w_shape, first, second, channels, groups, transposed, "" if last else hint)
    stride = check.per_axis("stride", stride, rank)
    dilation = check.per_axis("dilation", dilation, rank)
    if transposed:
        pads, extra = paddings.transposed_padding(padding, output_padding, rank, kernel, stride, dilation)
        border, reach = ZEROS, _uncut(size, kernel, stride, dilation, extra)
    else:
        pads, extra = paddings.padding(padding, rank, size, kernel, stride, dilation), (0,) * rank
        border, reach = paddings.border(padding_mode, padding_value, size, pads, dtype), _padded(size, pads, dilation)
        _check_window(kernel, dilation, reach)
    geometry = ConvGeometry(
        batch=x_shape[0],
        in_channels=channels,
        out_channels=second * groups if transposed else first,
        in_size=size,
        kernel=kernel,
        stride=_within(stride, reach),
        padding=pads,
        dilation=_within(dilation, reach),
        groups=groups,
        output_padding=extra,
        border=border,
        channels_last=last,
        transposed=transposed,
        activation=check.activation(activation, dtype),
    )
    _check_conv_output(geometry)
    return geometry


def _check_weight_channels(
    w_shape: Size, first: int, second: int, channels: int, groups: int, transposed: bool, hint: str
) -> None:
    if transposed and first != channels:
        raise ValueError(f"w must have {channels} input channels on its first axis, as x has, got shape {w_shape}{hint}")
    if not transposed and second != channels // groups:
        raise ValueError(
            f"w must have {channels // groups} input channels ({channels} of x over {groups} groups), got {second} in "
            f"shape {w_shape}{hint}"
        )
    if not transposed and first % groups:
        raise ValueError(f"groups must divide the {first} output channels of w, got {groups}")


def _uncut(size: Size, kernel: Size, stride: Size, dilation: Size, extra: Size) -> Size:
    """Cells of each axis of a transposed convolution's output before padding is cut off."""
    found = tuple(
        max(0, cells - 1) * step + window_extent(taps, spread) + more
        for cells, taps, step, spread, more in zip(size, kernel, stride, dilation, extra, strict=True)
    )
    for axis, cells in enumerate(found):
        if cells > FARTHEST:
            raise ValueError(
                f"stride, dilation and output_padding must leave axes of at most 2**48 cells before padding is cut off, for "
                f"64-bit offsets, got {stride[axis]}, {dilation[axis]} and {extra[axis]} on axis {axis} of {size[axis]} cells"
            )
    return found


def _check_window(kernel: Size, dilation: Size, padded: Size) -> None:
    for axis, (taps, spread, cells) in enumerate(zip(kernel, dilation, padded, strict=True)):
        if window_extent(taps, spread) > cells:
            raise ValueError(
                f"w has a kernel of {taps} cells at dilation {spread}, {window_extent(taps, spread)} in all, on axis {axis}, "
                f"where padded x has only {cells}"
            )


def _check_conv_output(geometry: ConvGeometry) -> None:
    for axis, cells in enumerate(geometry.out_size):
        if cells < 0:
            raise ValueError(f"padding {geometry.padding} leaves no output on axis {axis}: its size would be {cells}")
    _fits(geometry.shaped_by, geometry.out_shape)


def pool(
    x_shape: Size,
    *,
    kind: str,
    rank: int,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: Any = False,
    return_indices: Any = False,
    count_include_pad: Any = True,
    divisor_override: Any = None,
    norm_type: Any = 2.0,
    padding_mode: Any = None,
    padding_value: Any = None,
    order: Any = None,
    percentile: Any = None,
    footprint: Any = None,
    layout: Any = None,
    dtype: np.dtype[Any],
) -> PoolGeometry:
    """The geometry of a pool with a kernel, on a batched shape. `order` is the argument `rank` of rank pools."""
    last = check.channels_last(layout, rank)
    channels, size = (x_shape[-1], x_shape[1:-1]) if last else (x_shape[1], x_shape[2:])
    kernel, mask = pool_window(kernel_size, footprint, rank)
    strides = kernel if stride is None else check.per_axis("stride", stride, rank)
    dilations = check.per_axis("dilation", dilation, rank)
    pads = paddings.padding(padding, rank, size, kernel, strides, dilations)
    ceil_mode = check.boolean("ceil_mode", ceil_mode)
    if kind == "rank":  # whose windows have one number of cells
        padding_mode = "zeros" if padding_mode is None else padding_mode
    border = pool_border(padding_mode, padding_value, size, pads, dtype)
    padded = _padded(size, pads, dilations)
    for axis, pair in enumerate(pads):
        extent = window_extent(kernel[axis], dilations[axis])
        if border is None and 2 * max(pair) > extent:
            raise ValueError(f"padding must be at most half the dilated kernel, {extent // 2} on axis {axis}, got {pair}")
        overhangs = ceil_mode and border is None and padded[axis] > max(0, extent - strides[axis])
        if padded[axis] < extent and not overhangs:
            raise ValueError(
                f"kernel_size spans {extent} cells on axis {axis}, where padded x has only {padded[axis]}, at dilation "
                f"{dilations[axis]}"
            )
    taps, steps = _without_overhang(kernel, strides, dilations, padded)
    if mask is not None and taps != kernel:
        mask = np.frombuffer(mask, np.uint8).reshape(kernel)[tuple(map(slice, taps))].tobytes()
    if math.prod(kernel) > check.LARGEST:
        raise ValueError(f"kernel_size must have at most 2**62 taps, got {kernel}")
    if divisor_override is not None:
        divisor_override = check.integer("divisor_override", divisor_override, -check.LARGEST)
        if divisor_override == 0:
            raise ValueError("divisor_override must not be 0")
    geometry = PoolGeometry(
        kind=kind,
        batch=x_shape[0],
        channels=channels,
        in_size=size,
        kernel=taps,
        stride=_within(steps, padded),
        padding=pads,
        dilation=_within(dilations, padded),
        ceil_mode=ceil_mode,
        return_indices=check.boolean("return_indices", return_indices),
        count_include_pad=check.boolean("count_include_pad", count_include_pad),
        divisor_override=divisor_override,
        norm_type=_norm(norm_type),
        channels_last=last,
        border=border if kind != "rank" or any(map(any, pads)) else None,
        footprint=mask,
    )
    if kind == "rank":
        geometry = replace(geometry, order=pool_order(order, percentile, geometry.taps))
    _fits(geometry.shaped_by, geometry.out_shape)
    if border is not None:
        if geometry.return_indices and border.mode in ("zeros", "constant") and any(map(any, geometry.reach)):
            raise ValueError(f"return_indices must be False with padding_mode {padding_mode!r}: a constant has no index in x")
        return geometry
    needs_cells = kind in ("max", "min") or (kind == "avg" and not geometry.count_include_pad and not divisor_override)
    if needs_cells and geometry.empty_window is not None:
        raise ValueError(
            f"padding {pads} leaves a window on axis {geometry.empty_window} without any cell of x: kernel_size {kernel}, "
            f"stride {strides}, dilation {dilations}"
        )
    if needs_cells and geometry.has_empty_footprint:
        raise ValueError(
            f"padding {pads} leaves a window without any cell of x under its footprint: kernel_size {kernel}, "
            f"stride {strides}, dilation {dilations}; with a padding_mode, windows see what lies there"
        )
    return geometry


def _without_overhang(kernel: Size, stride: Size, dilation: Size, padded: Size) -> tuple[Size, Size]:
    """Taps and strides of windows where one that is larger than an axis with its padding, its only one, ends with it."""
    taps, steps = list(kernel), list(stride)
    for axis, cells in enumerate(padded):
        if window_extent(kernel[axis], dilation[axis]) > cells:
            taps[axis], steps[axis] = (cells - 1) // dilation[axis] + 1, cells
    return tuple(taps), tuple(steps)


def pool_border(mode: Any, fill: Any, size: Size, pads: Pairs, dtype: np.dtype[Any]) -> Border | None:
    """What windows see in padding; None, the default, where padding is no part of a window."""
    if mode is None:
        if fill is not None:
            raise ValueError(f'padding_value is for padding_mode "constant", got {fill!r} without a padding_mode')
        return None
    return paddings.border(mode, fill, size, pads, dtype)


def _norm(value: Any) -> float:
    norm = float(check.real("norm_type", value))
    if not norm > 0:
        raise ValueError(f"norm_type must be above 0, got {value!r}")
    return norm


def adaptive_pool(
    x_shape: Size,
    *,
    kind: str,
    rank: int,
    output_size: Any,
    dtype: np.dtype[Any],
    return_indices: Any = False,
    layout: Any = None,
) -> PoolGeometry:
    """The geometry of an adaptive pool: output o of O covers the cells floor(o L / O) to ceil((o + 1) L / O)."""
    last = check.channels_last(layout, rank)
    channels, size = (x_shape[-1], x_shape[1:-1]) if last else (x_shape[1], x_shape[2:])
    if isinstance(output_size, (tuple, list)) and len(output_size) == rank:
        output_size = tuple(cells if wanted is None else wanted for wanted, cells in zip(output_size, size, strict=True))
    elif output_size is None:
        output_size = size
    outputs = check.per_axis("output_size", output_size, rank, 0)
    for axis, (wanted, cells) in enumerate(zip(outputs, size, strict=True)):
        if wanted and not cells:
            raise ValueError(f"output_size must be 0 on axis {axis}, where x has no cells, got {wanted}")
    ones = (1,) * rank
    geometry = PoolGeometry(
        kind=kind,
        batch=x_shape[0],
        channels=channels,
        in_size=size,
        kernel=outputs,
        stride=ones,
        padding=((0, 0),) * rank,
        dilation=ones,
        adaptive=True,
        return_indices=check.boolean("return_indices", return_indices),
        channels_last=last,
    )
    _fits(geometry.shaped_by, geometry.out_shape)
    return geometry


def unpool(
    x_shape: Size,
    *,
    rank: int,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    layout: Any = None,
) -> UnpoolGeometry:
    """The geometry of a max_unpool: (L - 1) * stride - 2 * padding + kernel cells, or `output_size` within a stride."""
    last = check.channels_last(layout, rank)
    channels, size = (x_shape[-1], x_shape[1:-1]) if last else (x_shape[1], x_shape[2:])
    kernel = check.per_axis("kernel_size", kernel_size, rank)
    strides = kernel if stride is None else check.per_axis("stride", stride, rank)
    pads = paddings.padding(padding, rank, size, kernel, strides, (1,) * rank)
    usual = tuple(
        (cells - 1) * step - sum(pair) + taps if cells else 0
        for cells, step, pair, taps in zip(size, strides, pads, kernel, strict=True)
    )
    for axis, cells in enumerate(usual):
        if cells < 0:
            raise ValueError(f"padding leaves no output on axis {axis}: {pads[axis]} of padding makes {cells} cells")
    wanted = usual
    if output_size is not None:
        if not isinstance(output_size, (tuple, list)):
            raise TypeError(f"output_size must be a tuple of {rank} ints, got {output_size!r}")
        wanted = check.per_axis("output_size", tuple(output_size)[-rank:], rank, 0)
        if any(abs(cells - most) >= step for cells, most, step in zip(wanted, usual, strides, strict=True)):
            raise ValueError(f"output_size must lie within one stride {strides} of {usual}, got {tuple(output_size)}")
    geometry = UnpoolGeometry(x_shape[0], channels, size, wanted, last)
    _fits(geometry.shaped_by, geometry.out_shape)
    return geometry


def windows(
    operation: str, batch: int, channels: int, size: Size, kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> FoldGeometry:
    """The geometry of unfold or fold for an image of `size`."""
    rank = len(size)
    kernel = check.per_axis("kernel_size", kernel_size, rank)
    stride, dilation = check.per_axis("stride", stride, rank), check.per_axis("dilation", dilation, rank)
    pads = paddings.padding(padding, rank, size, kernel, stride, dilation)
    padded = _padded(size, pads, dilation)
    for axis, cells in enumerate(padded):
        extent = window_extent(kernel[axis], dilation[axis])
        if extent > cells:
            raise ValueError(
                f"kernel_size spans {extent} cells on axis {axis}, where the padded image has only {cells}, at dilation "
                f"{dilation[axis]}"
            )
    stride, dilation = _within(stride, padded), _within(dilation, padded)
    plane = ConvGeometry(batch, 1, 1, size, kernel, stride, pads, dilation, output_padding=(0,) * rank)
    geometry = FoldGeometry(operation, batch, channels, plane)
    _fits(geometry.shaped_by, geometry.column_shape)
    return geometry


def unfold(x_shape: Size, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> tuple[FoldGeometry, bool]:
    """(geometry, whether x came without a batch axis); the length of kernel_size tells the number of axes."""
    if isinstance(kernel_size, (tuple, list)):
        rank = len(kernel_size)
    elif len(x_shape) == 3:
        raise ValueError(
            f"kernel_size must be a tuple where x has 3 dimensions: of 1 entry for (batch, channels, length), of 2 for "
            f"(channels, height, width), got {kernel_size!r}"
        )
    else:
        rank = len(x_shape) - 2
    if not 1 <= rank <= 3:
        raise ValueError(f"x and kernel_size must have 1 to 3 spatial axes, got shape {x_shape}, kernel_size {kernel_size!r}")
    full, single = check.batched("x", x_shape, rank)
    return windows("unfold", full[0], full[1], full[2:], kernel_size, dilation, padding, stride), single


def fold(
    x_shape: Size, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> tuple[FoldGeometry, bool]:
    """(geometry, whether x came without a batch axis); the length of output_size tells the number of axes."""
    if not isinstance(output_size, (tuple, list)) or not 1 <= len(output_size) <= 3:
        raise ValueError(f"output_size must be a tuple of 1 to 3 ints, one per axis, got {output_size!r}")
    size = check.per_axis("output_size", output_size, len(output_size), 0)
    full, single = check.batched("x", x_shape, 1)
    kernel = check.per_axis("kernel_size", kernel_size, len(size))
    taps = math.prod(kernel)
    if full[1] % taps:
        raise ValueError(f"x must have a multiple of {taps} rows, the taps of kernel_size {kernel}, got shape {x_shape}")
    geometry = windows("fold", full[0], full[1] // taps, size, kernel, dilation, padding, stride)
    if geometry.column_shape != full:
        raise ValueError(
            f"x must have {geometry.column_shape[2]} columns, the windows of an image of {size} with kernel_size {kernel}, "
            f"stride {check.per_axis('stride', stride, len(size))} and padding {geometry.windows.padding}, got shape {x_shape}"
        )
    return geometry, single
