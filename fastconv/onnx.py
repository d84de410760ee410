"""ONNX's convolutions and pools on fastconv, for ONNX's reference evaluator, and a backend made of the two.

    ReferenceEvaluator(model, new_ops=ops)      these operators on fastconv, all others in NumPy, as the onnx package has them
    backend.prepare(model).run(inputs)          the same by ONNX's interface for backends

Examples
--------
>>> import numpy as np
>>> import onnx
>>> import fastconv.onnx
>>> from onnx import TensorProto, helper
>>> x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
>>> node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])
>>> model = helper.make_model(helper.make_graph([node], "pool", [x], [y]), opset_imports=[helper.make_opsetid("", 21)])
>>> from onnx.reference import ReferenceEvaluator
>>> evaluator = ReferenceEvaluator(model, new_ops=fastconv.onnx.ops)
>>> evaluator.run(None, {"x": np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)})[0].tolist()
[[[[5.0, 7.0], [13.0, 15.0]]]]
"""

from math import prod
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

import fastconv as fc

__all__ = ["backend", "ops"]

Array = np.ndarray[Any, Any]
Pairs = tuple[tuple[int, int], ...]
AUTO = {"VALID": "valid", "SAME_UPPER": "same", "SAME_LOWER": "same_lower"}


def rank_of(name: str, x: Array) -> int:
    """The number of spatial axes, of which there are one to three."""
    if not 3 <= x.ndim <= 5:
        raise ValueError(f"{name} must have a batch, a channel and 1 to 3 spatial axes, got shape {x.shape}")
    return x.ndim - 2


def padding_of(auto_pad: str | None, pads: Any, rank: int) -> str | Pairs:
    """ONNX's two attributes as one argument."""
    if auto_pad in (None, "", "NOTSET"):
        return pairs_of(pads, rank)
    if auto_pad not in AUTO:
        raise ValueError(f"auto_pad must be NOTSET or one of {', '.join(AUTO)}, got {auto_pad!r}")
    return AUTO[str(auto_pad)]


def pairs_of(pads: Any, rank: int) -> Pairs:
    """All that is added before the axes and then all behind them, as pairs."""
    cells = [0] * 2 * rank if pads is None or len(pads) == 0 else [int(one) for one in pads]
    if len(cells) != 2 * rank:
        raise ValueError(f"pads must have {2 * rank} entries, the begins of {rank} axes and then the ends, got {cells}")
    return tuple(zip(cells[:rank], cells[rank:], strict=True))


def ones(value: Any, rank: int) -> tuple[int, ...]:
    """A step along each axis: 1 where there is no attribute."""
    return (1,) * rank if value is None or len(value) == 0 else tuple(int(one) for one in value)


def widened(*arrays: Any) -> tuple[Any, ...]:
    """Arrays of bfloat16 in float32; others as they are."""
    return tuple(one.astype(np.float32) if one is not None and one.dtype.name == "bfloat16" else one for one in arrays)


def check_kernel(kernel_shape: Any, w: Array) -> None:
    """The attribute says what the weights say."""
    if kernel_shape is not None and len(kernel_shape) and tuple(kernel_shape) != w.shape[2:]:
        raise ValueError(f"kernel_shape must be {w.shape[2:]}, as W has it, got {tuple(kernel_shape)}")


class _Operator(OpRun):  # type: ignore[misc]
    """What the operators share: the domain."""

    op_domain = ""


# Convolutions ---------------------------------------------------------------------------------------------------------


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


class Conv(_Operator):
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


class ConvInteger(_Operator):
    """ConvInteger, opset 10."""

    def _run(self, x: Any, w: Any, x_zero_point: Any = None, w_zero_point: Any = None, **attributes: Any) -> tuple[Array]:
        return (integers(x, w, (x_zero_point, w_zero_point), None, attributes),)


class QLinearConv(_Operator):
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


class ConvTranspose(_Operator):
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


# Pools ----------------------------------------------------------------------------------------------------------------


def too_far(padding: str | Pairs, kernel: tuple[int, ...], dilations: tuple[int, ...]) -> bool:
    """Whether more is padded than half a window, so that one might see no cell of x."""
    if isinstance(padding, str):
        return False
    windows = ((taps - 1) * spread + 1 for taps, spread in zip(kernel, dilations, strict=True))
    return any(2 * max(pair) > window for pair, window in zip(padding, windows, strict=True))


class _Pool(_Operator):
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


class _GlobalPool(_Operator):
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


class MaxUnpool(_Operator):
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


class Col2Im(_Operator):
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


ops = [
    Conv,
    ConvTranspose,
    ConvInteger,
    QLinearConv,
    MaxPool,
    AveragePool,
    LpPool,
    GlobalAveragePool,
    GlobalMaxPool,
    GlobalLpPool,
    MaxUnpool,
    Col2Im,
]


# A backend ------------------------------------------------------------------------------------------------------------


class Prepared(BackendRep):  # type: ignore[misc]
    """A model that is ready to run."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.evaluator = ReferenceEvaluator(model, new_ops=ops)

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs, for inputs in the order of the graph or by their names."""
        names = self.evaluator.input_names
        if not isinstance(inputs, dict):
            values = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            if len(values) > len(names):
                raise ValueError(f"inputs must be at most {len(names)}, {', '.join(names)}, got {len(values)}")
            inputs = dict(zip(names, values, strict=False))
        return tuple(self.evaluator.run(None, inputs))


class backend(Backend):  # type: ignore[misc]  # ONNX's own tools look for this name
    """ONNX models on the CPU: `ops` on fastconv, all other operators in NumPy, as the onnx package has them."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> Prepared:
        """A model, checked, as an object whose `run(inputs)` gives the outputs."""
        if not cls.supports_device(device):
            raise ValueError(f"device must be 'CPU', got {device!r}")
        super().prepare(model, device, **kwargs)
        return Prepared(model)

    @classmethod
    def run_node(cls, node: Any, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any) -> Any:
        """The outputs of one node, for inputs in its order."""
        super().run_node(node, inputs, device=device, outputs_info=outputs_info, **kwargs)
        values = [onnx.helper.make_tensor_value_info(name, 0, None) for name in (*node.input, *node.output)]
        graph = onnx.helper.make_graph([node], "node", values[: len(node.input)], values[len(node.input) :])
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid(node.domain, version)])
        return Prepared(model).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """The CPU alone."""
        return device.split(":")[0] == "CPU"
