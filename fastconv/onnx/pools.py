"""ONNX's pools over windows and over all axes, and what undoes them: unpooling, and sums of columns in an image."""

from math import prod
from typing import Any

import numpy as np

import fastconv as fc
from fastconv.onnx.operator import Array, Operator, Pairs, ones, padding_of, pairs_of, rank_of, widened


def too_far(padding: str | Pairs, kernel: tuple[int, ...], dilations: tuple[int, ...]) -> bool:
    """Whether more is padded than half a window, so that one might see no cell of x."""
    if isinstance(padding, str):
        return False
    windows = ((taps - 1) * spread + 1 for taps, spread in zip(kernel, dilations, strict=True))
    return any(2 * max(pair) > window for pair, window in zip(padding, windows, strict=True))


class _Pool(Operator):
    """What pools share."""

    def window(self, x: Array, attributes: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """(spatial axes, the arguments of a window)."""
        rank = rank_of("X", x)
        kernel = tuple(int(taps) for taps in attributes.get("kernel_shape") or ())
        if len(kernel) != rank:
            raise ValueError(f"kernel_shape must have {rank} entries, one per spatial axis, got {kernel}")
        return rank, {
            "kernel_size": kernel,
            "stride": ones(attributes.get("strides"), rank),
            "padding": padding_of(attributes.get("auto_pad"), attributes.get("pads"), rank),
            "dilation": ones(attributes.get("dilations"), rank),
            "ceil_mode": bool(attributes.get("ceil_mode")),
        }


class MaxPool(_Pool):
    """MaxPool, opsets 1 to 22, with Indices in either storage order."""

    def _run(self, x: Any, **attributes: Any) -> tuple[Array, ...]:
        rank, window = self.window(x, attributes)
        (given,) = widened(x)
        pads, shape = window["padding"], x.shape[2:]
        far = too_far(pads, window["kernel_size"], window["dilation"])
        if far:
            low = -np.inf if given.dtype.kind == "f" else np.iinfo(given.dtype).min
            given = np.pad(given, ((0, 0), (0, 0), *pads), constant_values=low)
            window["padding"] = 0
        pool = getattr(fc, f"max_pool{rank}d")
        if len(self.output) < 2 or not self.output[1]:
            return (pool(given, **window).astype(x.dtype, copy=False),)
        y, where = pool(given, return_indices=True, **window)
        coordinates = np.unravel_index(where, given.shape[2:])
        if far:
            coordinates = tuple(
                np.clip(one - before, 0, cells - 1) for one, (before, _), cells in zip(coordinates, pads, shape, strict=True)
            )
        inside = np.ravel_multi_index(coordinates, shape, order="F" if attributes.get("storage_order") else "C")
        planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *(1,) * rank) * prod(shape)
        return y.astype(x.dtype, copy=False), inside + planes


class AveragePool(_Pool):
    """AveragePool, opsets 1 to 22."""

    def _run(self, x: Any, **attributes: Any) -> tuple[Array]:
        rank, window = self.window(x, attributes)
        (given,) = widened(x)
        counted = bool(attributes.get("count_include_pad"))
        pool = getattr(fc, f"avg_pool{rank}d")
        if not too_far(window["padding"], window["kernel_size"], window["dilation"]):
            y = pool(given, count_include_pad=counted, **window)
        else:
            y = pool(given, padding_mode="zeros", **window)
            if not counted:  # the mean of what is inside is the mean of all by the share that is inside
                with np.errstate(invalid="ignore"):
                    y = y / pool(np.ones((1, 1, *x.shape[2:]), given.dtype), padding_mode="zeros", **window)
        return (y.astype(x.dtype, copy=False),)


class LpPool(_Pool):
    """LpPool, opsets 1 to 22."""

    def _run(self, x: Any, **attributes: Any) -> tuple[Array]:
        rank, window = self.window(x, attributes)
        (given,) = widened(x)
        far = too_far(window["padding"], window["kernel_size"], window["dilation"])
        p = attributes.get("p")
        pool = getattr(fc, f"lp_pool{rank}d")
        y = pool(given, 2 if p is None else p, padding_mode="zeros" if far else None, **window)
        return (y.astype(x.dtype, copy=False),)


class _GlobalPool(Operator):
    """Pools over all spatial axes, of which there may be any number: they are taken as one."""

    def pooled(self, x: Array, **attributes: Any) -> Array:
        """Of maps with one axis."""
        raise NotImplementedError

    def _run(self, x: Any, **attributes: Any) -> tuple[Array]:
        if x.ndim < 2:
            raise ValueError(f"X must have a batch and a channel axis, got shape {x.shape}")
        (given,) = widened(x)
        flat = np.ascontiguousarray(given).reshape(*x.shape[:2], prod(x.shape[2:]))
        y = self.pooled(flat, **attributes).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))
        return (y.astype(x.dtype, copy=False),)


class GlobalAveragePool(_GlobalPool):
    """GlobalAveragePool, opsets 1 and 22."""

    def pooled(self, x: Array, **attributes: Any) -> Array:
        """The mean."""
        return fc.global_avg_pool(x)


class GlobalMaxPool(_GlobalPool):
    """GlobalMaxPool, opsets 1 and 22."""

    def pooled(self, x: Array, **attributes: Any) -> Array:
        """The largest."""
        return fc.global_max_pool(x)


class GlobalLpPool(_GlobalPool):
    """GlobalLpPool, opsets 1 to 22."""

    def pooled(self, x: Array, **attributes: Any) -> Array:
        """The norm."""
        p = attributes.get("p")
        return fc.lp_pool1d(x, 2 if p is None else p, x.shape[2])


# Undoing --------------------------------------------------------------------------------------------------------------


class MaxUnpool(Operator):
    """MaxUnpool, opsets 9, 11 and 22: indices count the cells of the whole output that the window's attributes give."""

    def _run(self, x: Any, indices: Any, output_shape: Any = None, **attributes: Any) -> tuple[Array]:
        rank = rank_of("X", x)
        kernel = tuple(int(taps) for taps in attributes["kernel_shape"])
        strides, pads = ones(attributes.get("strides"), rank), pairs_of(attributes.get("pads"), rank)
        shape = tuple(
            (cells - 1) * step - sum(pair) + taps
            for cells, step, pair, taps in zip(x.shape[2:], strides, pads, kernel, strict=True)
        )
        plane = prod(shape)
        planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *(1,) * rank) * plane
        inside = np.asarray(indices, np.int64) - planes
        (given,) = widened(x)
        y = getattr(fc, f"max_unpool{rank}d")(given, inside, kernel, strides, pads)
        if output_shape is not None:
            wanted = tuple(int(size) for size in output_shape)
            found = np.zeros(wanted, y.dtype)
            corner = tuple(slice(0, min(size, most)) for size, most in zip(y.shape, wanted, strict=True))
            found[corner] = y[corner]
            y = found
        return (y.astype(x.dtype, copy=False),)


class Col2Im(Operator):
    """Col2Im, opset 18, of images with one to three spatial axes."""

    def _run(self, data: Any, image_shape: Any, block_shape: Any, **attributes: Any) -> tuple[Array]:
        size, block = (tuple(int(one) for one in shape) for shape in (image_shape, block_shape))
        rank = len(size)
        (given,) = widened(data)
        y = fc.fold(
            given,
            size,
            block,
            dilation=ones(attributes.get("dilations"), rank),
            padding=pairs_of(attributes.get("pads"), rank),
            stride=ones(attributes.get("strides"), rank),
        )
        return (y.astype(data.dtype, copy=False),)
