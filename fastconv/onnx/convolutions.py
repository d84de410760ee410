"""ONNX's convolutions: plain, of integers, quantized, and transposed."""

from typing import Any

import numpy as np

import fastconv as fc
from fastconv.onnx.operator import Array, Operator, check_kernel, ones, padding_of, pairs_of, rank_of, widened


def convolved(x: Array, w: Array, bias: Any, attributes: dict[str, Any], dtype: Any = None) -> Array:
    """Conv by its attributes."""
    rank = rank_of("X", x)
    check_kernel(attributes.get("kernel_shape"), w)
    convolve = getattr(fc, f"conv{rank}d")
    result: Array = convolve(
        x,
        w,
        bias,
        stride=ones(attributes.get("strides"), rank),
        padding=padding_of(attributes.get("auto_pad"), attributes.get("pads"), rank),
        dilation=ones(attributes.get("dilations"), rank),
        groups=attributes.get("group") or 1,
        dtype=dtype,
    )
    return result


class Conv(Operator):
    """Conv, opsets 1, 11 and 22."""

    def _run(self, x: Any, w: Any, bias: Any = None, **attributes: Any) -> tuple[Array]:
        x32, w32, bias32 = widened(x, w, bias)
        return (convolved(x32, w32, bias32, attributes).astype(x.dtype, copy=False),)


def without_zero(name: str, x: Array, zero: Any, axis: int) -> Array:
    """An array of 8 bits less its zero point, one or one along an axis; of 16 bits where there is one."""
    if zero is None or not np.any(zero):
        return x
    zero = np.asarray(zero, np.int16)
    if zero.size not in (1, x.shape[axis]):
        raise ValueError(f"{name} must have 1 or {x.shape[axis]} entries, got {zero.size}")
    shape = [1] * x.ndim
    if zero.size > 1:
        shape[axis] = -1
    return x.astype(np.int16) - zero.reshape(shape)


def integers(x: Any, w: Any, zeros: tuple[Any, Any], bias: Any, attributes: dict[str, Any]) -> Array:
    """The sums of a quantized convolution, in int32; padding holds the zero point."""
    x, w = without_zero("x_zero_point", x, zeros[0], 1), without_zero("w_zero_point", w, zeros[1], 0)
    return convolved(x, w, bias, attributes, np.int32)


class ConvInteger(Operator):
    """ConvInteger, opset 10."""

    def _run(self, x: Any, w: Any, x_zero_point: Any = None, w_zero_point: Any = None, **attributes: Any) -> tuple[Array]:
        return (integers(x, w, (x_zero_point, w_zero_point), None, attributes),)


class QLinearConv(Operator):
    """QLinearConv, opset 10: saturate(round(sum * x_scale * w_scale / y_scale) + y_zero_point), halves to even."""

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Array]:
        x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *rest = inputs
        sums = integers(x, w, (x_zero, w_zero), rest[0] if rest else None, attributes)
        scale = np.asarray(x_scale, np.float32) * np.asarray(w_scale, np.float32) / np.asarray(y_scale, np.float32)
        if scale.size not in (1, len(w)):
            raise ValueError(f"w_scale must have 1 or {len(w)} entries, one per output channel, got {scale.size}")
        scale = scale.reshape(-1, *(1,) * (x.ndim - 2)).astype(np.float64)
        dtype = x.dtype if y_zero is None else y_zero.dtype
        limits = np.iinfo(dtype)
        y = np.rint(sums * scale)
        if y_zero is not None:
            y += y_zero
        return (np.clip(y, limits.min, limits.max).astype(dtype),)


class ConvTranspose(Operator):
    """ConvTranspose, opsets 1, 11 and 22."""

    def _run(self, x: Any, w: Any, bias: Any = None, **attributes: Any) -> tuple[Array]:
        dtype = x.dtype
        x, w, bias = widened(x, w, bias)
        rank = rank_of("X", x)
        check_kernel(attributes.get("kernel_shape"), w)
        strides, dilations = ones(attributes.get("strides"), rank), ones(attributes.get("dilations"), rank)
        more = attributes.get("output_padding")
        more = (0,) * rank if more is None or len(more) == 0 else tuple(int(one) for one in more)
        full = tuple(
            (cells - 1) * step + (taps - 1) * spread + 1
            for cells, step, taps, spread in zip(x.shape[2:], strides, w.shape[2:], dilations, strict=True)
        )
        begins, sizes = placed(x, strides, full, more, attributes)
        ends = [cells - begin - size for cells, begin, size in zip(full, begins, sizes, strict=True)]
        steps = zip(begins, ends, strides, dilations, strict=True)
        exact = all(begin >= 0 and end > -max(step, spread) for begin, end, step, spread in steps)
        padding = [(begin, max(0, end)) if exact else (0, 0) for begin, end in zip(begins, ends, strict=True)]
        extra = [max(0, -end) if exact else 0 for end in ends]
        convolve = getattr(fc, f"conv_transpose{rank}d")
        y = convolve(
            x,
            w,
            bias,
            stride=strides,
            padding=tuple(padding),
            output_padding=tuple(extra),
            groups=attributes.get("group") or 1,
            dilation=dilations,
        )
        if not exact:
            y = cut(y, begins, sizes, bias)
        return (y.astype(dtype, copy=False),)


def placed(
    x: Array, strides: tuple[int, ...], full: tuple[int, ...], more: tuple[int, ...], attributes: dict[str, Any]
) -> tuple[list[int], list[int]]:
    """(where the output begins in the uncut one, its size) along each axis."""
    rank, auto_pad, wanted = len(full), attributes.get("auto_pad") or "NOTSET", attributes.get("output_shape")
    if wanted is not None and len(wanted):
        sizes = [int(size) for size in wanted[-rank:]]
    elif auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        sizes = [cells * step for cells, step in zip(x.shape[2:], strides, strict=True)]
    else:
        pads = padding_of(auto_pad, attributes.get("pads"), rank)
        pairs = pairs_of(None, rank) if isinstance(pads, str) else pads
        sizes = [cells + extra - sum(pair) for cells, extra, pair in zip(full, more, pairs, strict=True)]
        return [pair[0] for pair in pairs], sizes
    given = attributes.get("pads")
    if auto_pad == "NOTSET" and given is not None and len(given):
        return [pair[0] for pair in pairs_of(given, rank)], sizes
    totals = [max(0, cells + extra - size) for cells, extra, size in zip(full, more, sizes, strict=True)]
    return [total // 2 if auto_pad == "SAME_UPPER" else total - total // 2 for total in totals], sizes


def cut(y: Array, begins: list[int], sizes: list[int], bias: Any) -> Array:
    """A part of the uncut output, which may reach over it: nothing but the bias is there."""
    found = np.zeros((*y.shape[:2], *sizes), y.dtype)
    if bias is not None:
        found += bias.reshape(-1, *(1,) * len(sizes))
    axes = list(zip(y.shape[2:], begins, sizes, strict=True))
    source = tuple(slice(max(0, begin), max(0, min(cells, begin + size))) for cells, begin, size in axes)
    target = tuple(
        slice(one.start - begin, one.start - begin + max(0, one.stop - one.start))
        for one, (_, begin, _) in zip(source, axes, strict=True)
    )
    whole = (slice(None), slice(None))
    found[whole + target] = y[whole + source]
    return found
