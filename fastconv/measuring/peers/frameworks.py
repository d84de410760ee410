"""torch, with channels first and with channels last."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from fastconv.measuring.peers.case import Case, Library, Prepared, Refused
from fastconv.problem.convolutions import ConvGeometry
from fastconv.problem.pools import PoolGeometry

Call = Callable[[Any], Any]


def load_torch(threads: int, channels_last: bool = False) -> Library:
    """Torch with contiguous (n, c, ...) tensors."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    return Library(torch.__version__, partial(_prepare, channels_last=channels_last))


def load_torch_channels_last(threads: int) -> Library:
    """Torch with tensors whose memory is (n, ..., c)."""
    return load_torch(threads, channels_last=True)


def _prepare(case: Case, channels_last: bool) -> Prepared:
    geometry = case.geometry
    if channels_last and geometry.rank == 1:
        raise Refused("torch has no channels_last memory for 1-D maps")
    x = _tensor(case.image, channels_last)
    make = _conv if isinstance(geometry, ConvGeometry) else _pool
    call = make(case, channels_last)
    return Prepared(lambda: call(x), lambda y: _first(y).numpy())


def _first(y: Any) -> Any:
    return y[0] if isinstance(y, tuple) else y


def _tensor(array: Any, channels_last: bool) -> Any:
    tensor = torch.from_numpy(np.array(array, order="C"))
    if not channels_last:
        return tensor
    forms = {4: torch.channels_last, 5: torch.channels_last_3d}
    return tensor.to(memory_format=forms[tensor.ndim])


def _conv(case: Case, channels_last: bool) -> Call:
    geometry = case.geometry
    assert isinstance(geometry, ConvGeometry)
    w = _tensor(case.weights, channels_last)
    bias = None if case.bias is None else torch.from_numpy(np.array(case.bias))
    shared: dict[str, Any] = {"weight": w, "bias": bias, "stride": geometry.stride, "groups": geometry.groups}
    shared["dilation"] = geometry.dilation
    convolve: Call
    if geometry.transposed:
        if not case.symmetric:
            raise Refused("torch pads transposed convolutions alike on both sides")
        function = getattr(functional, f"conv_transpose{geometry.rank}d")
        convolve = partial(function, padding=case.before, output_padding=geometry.output_padding, **shared)
    else:
        function = getattr(functional, f"conv{geometry.rank}d")
        if case.symmetric and geometry.border.mode == "zeros":
            convolve = partial(function, padding=case.before, **shared)
        else:
            convolve = _padded_first(partial(function, **shared), geometry)
    return _activated(convolve, geometry)


def _padded_first(convolve: Call, geometry: ConvGeometry) -> Call:
    """Padding that conv cannot do itself is a pass of its own, as a user of torch would write it."""
    pads = [cells for pair in reversed(geometry.padding) for cells in pair]
    mode = "constant" if geometry.border.mode == "zeros" else geometry.border.mode
    return lambda x: convolve(functional.pad(x, pads, mode))


def _activated(convolve: Call, geometry: ConvGeometry) -> Call:
    kind, low, high = geometry.activation
    if kind == "none":
        return convolve
    if kind == "clip":
        if low == 0 and high == float("inf"):
            return lambda x: functional.relu_(convolve(x))
        return lambda x: torch.clamp_(convolve(x), low, high)
    if kind == "leaky_relu":
        return lambda x: functional.leaky_relu_(convolve(x), low)
    activate = {"silu": functional.silu, "hardswish": functional.hardswish}[kind]
    return lambda x: activate(convolve(x), inplace=True)


def _pool(case: Case, channels_last: bool) -> Call:
    geometry = case.geometry
    assert isinstance(geometry, PoolGeometry)
    if geometry.kind in ("min", "rank"):
        raise Refused(f"torch has no {geometry.kind} pool")
    if geometry.footprint is not None:
        raise Refused("torch has no footprints")
    function = getattr(functional, f"{geometry.operation}{geometry.rank}d")
    if geometry.adaptive:
        extra = {"return_indices": geometry.return_indices} if geometry.kind == "max" else {}
        return partial(function, output_size=geometry.kernel, **extra)
    if not case.symmetric:
        raise Refused("torch pads pools alike on both sides")
    if geometry.kind != "max" and set(geometry.dilation) != {1}:
        raise Refused(f"torch has no dilation for {geometry.operation}")
    sizes = {"kernel_size": geometry.kernel, "stride": geometry.stride, "ceil_mode": geometry.ceil_mode}
    if geometry.kind == "lp":
        if any(case.before):
            raise Refused("torch has no padding for lp_pool")
        return partial(function, norm_type=geometry.norm_type, **sizes)
    if geometry.kind == "max":
        dilation, indices = geometry.dilation, geometry.return_indices
        return partial(function, padding=case.before, dilation=dilation, return_indices=indices, **sizes)
    if geometry.divisor_override is not None and geometry.rank > 1:
        sizes["divisor_override"] = geometry.divisor_override
    elif geometry.divisor_override is not None:
        raise Refused("torch has no divisor_override for avg_pool1d")
    return partial(function, padding=case.before, count_include_pad=geometry.count_include_pad, **sizes)
