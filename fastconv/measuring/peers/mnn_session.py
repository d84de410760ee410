"""MNN: one layer as a model whose weights lie inside of it, run in a session, in float32."""

import os
import tempfile
from typing import Any

import numpy as np

from fastconv.measuring.peers.case import Case, Library, Prepared, Refused
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.pools import PoolGeometry


def load_mnn(threads: int) -> Library:
    """MNN's CPU backend with high precision; input and output stay in its own layout, NC4HW4."""
    import MNN

    def prepare(case: Case) -> Prepared:
        case.told_before("MNN")
        interpreter = MNN.Interpreter(_saved(case))
        session = interpreter.createSession({"backend": "CPU", "numThread": threads, "precision": "high"})
        planes, float32 = MNN.Tensor_DimensionType_Caffe, MNN.Halide_Type_Float
        x = np.array(case.image, np.float32, order="C")
        given = MNN.Tensor(x.shape, float32, x, planes)
        interpreter.getSessionInput(session).copyFrom(given)

        def result(_: Any) -> Array:
            output = interpreter.getSessionOutput(session)
            host = MNN.Tensor(output.getShape(), float32, np.zeros(output.getShape(), np.float32), planes)
            output.copyToHostTensor(host)
            return np.array(host.getNumpyData(), np.float32).reshape(output.getShape())

        return Prepared(lambda: interpreter.runSession(session), result, keeps=(x, given))

    return Library(MNN.version(), prepare)


def _saved(case: Case) -> str:
    """A file with the case as a model, which is read as the interpreter is made."""
    from MNN import expr

    if case.geometry.rank != 2 or case.x.dtype != np.float32:
        raise Refused(f"MNN is compared on images in float32, not on {case.geometry.rank} axes of {case.x.dtype}")
    x = expr.placeholder(list(case.image.shape), expr.NC4HW4)
    x.name = "x"
    y = _conv(case, case.geometry, x) if isinstance(case.geometry, ConvGeometry) else _pool(case, case.geometry, x)
    y.name = "y"
    path = os.path.join(_FOLDER.name, "case.mnn")
    expr.save([y], path)
    return path


_FOLDER = tempfile.TemporaryDirectory(prefix="fastconv-mnn-", ignore_cleanup_errors=True)


def _conv(case: Case, g: ConvGeometry, x: Any) -> Any:
    from MNN import expr, nn

    depthwise = g.groups > 1 and g.groups == g.in_channels == g.out_channels
    if g.transposed or (g.groups > 1 and not depthwise):
        raise Refused("MNN is compared on convolutions without groups, and on depthwise ones, that are not transposed")
    if g.border.mode != "zeros" or not case.symmetric:
        raise Refused("MNN pads with zeros, alike on both sides")
    sizes = [list(each[::-1]) for each in (g.kernel, g.stride, case.before, g.dilation)]  # width before height
    layer = nn.conv(g.in_channels, g.out_channels, *sizes, depthwise, True, expr.CAFFE)
    bias = np.zeros(g.out_channels, np.float32) if case.bias is None else np.asarray(case.bias, np.float32)
    shapes = [list(parameter.shape) for parameter in layer.parameters]
    values = [bias, np.ascontiguousarray(case.weights, np.float32)]
    layer.load_parameters([expr.const(value, shape) for value, shape in zip(values, shapes, strict=True)])
    layer.train(False)
    return _activated(layer.forward(x), g)


def _activated(y: Any, g: ConvGeometry) -> Any:
    """MNN fuses none of them where a model is written by hand: a pass of its own."""
    from MNN import expr

    kind, low, high = g.activation
    if kind == "none":
        return y
    if kind == "clip" and low == 0 and high == float("inf"):
        return expr.relu(y)
    if kind == "clip":
        return expr.relu6(y, low, high)
    raise Refused(f"MNN is compared without {kind}")


def _pool(case: Case, g: PoolGeometry, x: Any) -> Any:
    from MNN import expr

    if g.kind not in ("max", "avg") or g.return_indices or g.divisor_override is not None or g.border is not None or g.adaptive:
        raise Refused("MNN is compared on plain max and average pools")
    if set(g.dilation) != {1} or g.ceil_mode or not case.symmetric or (g.kind == "avg" and any(case.before)):
        raise Refused("MNN is compared on pools without dilation and ceil_mode, and averages without padding")
    rests = (
        (cells + 2 * pad - k) % step for cells, pad, k, step in zip(g.in_size, case.before, g.kernel, g.stride, strict=True)
    )
    if any(case.before) and any(rests):
        raise Refused("MNN rounds the number of a padded pool's outputs up")
    pool = expr.max_pool if g.kind == "max" else expr.avg_pool
    kernel, stride, padding = (list(each[::-1]) for each in (g.kernel, g.stride, case.before))
    return pool(x, kernel, stride, expr.CAFFE if any(padding) else expr.VALID, padding)
