"""ncnn: one layer, in float32, from a parameter text and a weight file that are written in memory and in a temporary file."""

import os
import tempfile
from typing import Any

import numpy as np

from fastconv.measuring.peers.case import Case, Library, Prepared, Refused
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.pools import PoolGeometry

MAGIC = 7767517
RAW = np.zeros(1, np.uint32).tobytes()  # the tag of weights that follow in float32


def load_ncnn(threads: int) -> Library:
    """ncnn with Winograd, packed channels and float32 throughout; images of a batch one after another, as it has no batch."""
    import ncnn

    def prepare(case: Case) -> Prepared:
        case.told_before("ncnn")
        kind, options, weights = _layer_of(case)
        net = ncnn.Net()
        chosen = {"num_threads": threads, "use_winograd_convolution": True, "use_packing_layout": True}
        chosen |= dict.fromkeys((name for name in dir(net.opt) if name.startswith(("use_fp16", "use_bf16", "use_int8"))), False)
        chosen["use_vulkan_compute"] = False
        for name, value in chosen.items():
            setattr(net.opt, name, value)
        told = " ".join(f"{key}={value}" for key, value in options.items())
        _load(net, f"{MAGIC}\n2 2\nInput x 0 1 x\n{kind} layer 1 1 x y {told}\n", weights)
        images = [np.array(image, np.float32, order="C") for image in case.image]
        inputs = [ncnn.Mat(image) for image in images]

        def run() -> list[Any]:
            found = []
            for one in inputs:
                extractor = net.create_extractor()
                extractor.input("x", one)
                failed, y = extractor.extract("y")
                if failed:
                    raise RuntimeError(f"ncnn's {kind} failed with code {failed}")
                found.append(y)
            return found

        def result(outputs: list[Any]) -> Array:
            return np.stack([np.array(y) for y in outputs])

        return Prepared(run, result, "" if len(inputs) == 1 else "one image at a time", keeps=(net, images))

    return Library(ncnn.__version__, prepare)


def _load(net: Any, text: str, weights: bytes) -> None:
    """A network from its parameters and weights."""
    if net.load_param_mem(text):
        raise RuntimeError("ncnn does not read the layer's parameters")
    handle, path = tempfile.mkstemp(suffix=".bin")
    try:
        with open(handle, "wb") as file:
            file.write(weights)
        if net.load_model(path):
            raise RuntimeError("ncnn does not read the layer's weights")
    finally:
        os.unlink(path)


def _layer_of(case: Case) -> tuple[str, dict[int, Any], bytes]:
    """(ncnn's name of the layer, its parameters by number, its weight file)."""
    if case.geometry.rank != 2 or case.x.dtype != np.float32:
        raise Refused(f"ncnn is compared on images in float32, not on {case.geometry.rank} axes of {case.x.dtype}")
    return _conv_layer(case, case.geometry) if isinstance(case.geometry, ConvGeometry) else _pool_layer(case.geometry)


def _conv_layer(case: Case, g: ConvGeometry) -> tuple[str, dict[int, Any], bytes]:
    if g.border.mode != "zeros":
        raise Refused(f"ncnn's convolutions have no border {g.border.mode}")
    (kernel_h, kernel_w), ((top, bottom), (left, right)) = g.kernel, g.padding
    options: dict[int, Any] = {0: g.out_channels, 1: kernel_w, 11: kernel_h, 2: g.dilation[1], 12: g.dilation[0]}
    options |= {3: g.stride[1], 13: g.stride[0], 4: left, 15: right, 14: top, 16: bottom, 6: g.weights}
    if g.groups > 1:
        options[7] = g.groups
    if case.bias is not None:
        options[5] = 1
    options |= _activation(g)
    w = case.weights
    if g.transposed:
        options |= {18: g.output_padding[1], 19: g.output_padding[0]}
        grouped = w.reshape(g.groups, g.in_channels // g.groups, -1, *g.kernel)
        w = grouped.swapaxes(1, 2)  # output channels come first
    bias = b"" if case.bias is None else np.asarray(case.bias, np.float32).tobytes()
    name = "Deconvolution" if g.transposed else "Convolution"
    return name + ("DepthWise" if g.groups > 1 else ""), options, RAW + np.ascontiguousarray(w, np.float32).tobytes() + bias


def _activation(g: ConvGeometry) -> dict[int, Any]:
    """Parameters of a fused activation; an array's number is -23300 less its key."""
    kind, low, high = g.activation
    if kind == "none":
        return {}
    if kind == "clip" and low == 0 and high == float("inf"):
        return {9: 1}
    if kind == "leaky_relu":
        return {9: 2, -23310: f"1,{low}"}
    if kind == "clip":
        return {9: 3, -23310: f"2,{low},{high}"}
    raise Refused(f"ncnn is compared without {kind}")


def _pool_layer(g: PoolGeometry) -> tuple[str, dict[int, Any], bytes]:
    if g.kind not in ("max", "avg") or g.return_indices or g.divisor_override is not None or g.border is not None:
        raise Refused("ncnn has plain max and average pools only")
    kind = {"max": 0, "avg": 1}[g.kind]
    if g.adaptive:
        return "Pooling", {0: kind, 7: 1, 8: g.out_size[1], 18: g.out_size[0]}, b""
    if set(g.dilation) != {1} or g.ceil_mode:
        raise Refused("ncnn's pools have no dilation, and a ceil_mode of their own")
    (kernel_h, kernel_w), ((top, bottom), (left, right)) = g.kernel, g.padding
    options = {0: kind, 1: kernel_w, 11: kernel_h, 2: g.stride[1], 12: g.stride[0], 5: 1, 6: int(g.count_include_pad)}
    return "Pooling", options | {3: left, 14: right, 13: top, 15: bottom}, b""
