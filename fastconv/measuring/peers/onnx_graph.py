"""onnxruntime and openvino, both from the same one-layer ONNX model, built in memory."""

import sys
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fastconv.measuring.peers.case import Case, Library, Prepared, Refused
from fastconv.problem.convolutions import ConvGeometry
from fastconv.problem.pools import PoolGeometry

OPSET, IR_VERSION = 21, 10  # the oldest that have all of it: ONNX Runtime lags behind the onnx package


def load_onnxruntime(threads: int) -> Library:
    """ONNX Runtime's CPU provider with all graph optimisations; input and output bound to memory of its own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4

    def prepare(case: Case) -> Prepared:
        if isinstance(case.geometry, ConvGeometry) and case.x.dtype.name not in ("float32", "float16"):
            raise Refused(f"ONNX Runtime convolves in float32, not {case.x.dtype}")
        model = model_of(case).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        x = np.ascontiguousarray(case.image)
        if case.called:
            given = {"x": x} if case.w is None else {"x": x, "w": np.ascontiguousarray(case.weights)}
            return Prepared(lambda: session.run(None, given), lambda outputs: outputs[0])
        binding, value = session.io_binding(), onnxruntime.OrtValue
        y = value.ortvalue_from_shape_and_type(_out_shape(case), x.dtype.type, "cpu")
        bound = value.ortvalue_from_numpy(x)
        binding.bind_ortvalue_input("x", bound)
        binding.bind_ortvalue_output("y", y)
        return Prepared(lambda: session.run_with_iobinding(binding), lambda _: y.numpy(), keeps=(x, bound))

    return Library(onnxruntime.__version__, prepare)


def load_openvino(threads: int) -> Library:
    """OpenVINO's CPU plugin, one stream, in the precision of the model (it would otherwise pick bfloat16 on some CPUs)."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # its import sends usage data, from a child process
    import openvino

    core = openvino.Core()
    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    precisions = {"float32": "f32", "float16": "f16"}

    def prepare(case: Case) -> Prepared:
        precision = precisions.get(str(case.x.dtype))
        if precision is None:
            raise Refused(f"OpenVINO computes in float32, not {case.x.dtype}")
        case.told_before("OpenVINO")
        model = model_of(case).SerializeToString()
        compiled = core.compile_model(core.read_model(model), "CPU", {**options, "INFERENCE_PRECISION_HINT": precision})
        request = compiled.create_infer_request()
        x = np.ascontiguousarray(case.image)
        request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
        return Prepared(
            lambda: request.infer(share_outputs=True), lambda outputs: np.array(next(iter(outputs.values()))), keeps=(x, model)
        )

    return Library(openvino.__version__.split("-")[0], prepare)


def _out_shape(case: Case) -> list[int]:
    geometry = case.geometry
    channels = geometry.out_channels if isinstance(geometry, ConvGeometry) else geometry.channels
    return [geometry.batch, channels, *geometry.out_size]


def model_of(case: Case) -> onnx.ModelProto:
    """The case as an ONNX model with input x and output y; weights are constants of it, or come with each call."""
    make = _conv_nodes if isinstance(case.geometry, ConvGeometry) else _pool_nodes
    nodes, constants = make(case)
    kind = helper.np_dtype_to_tensor_dtype(case.x.dtype)
    inputs = {"x": case.image.shape}
    if case.called and "w" in constants:
        inputs["w"] = constants.pop("w").shape
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", kind, _out_shape(case))],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _pads(case: Case) -> list[int]:
    return [*case.before, *(after for _, after in case.geometry.padding)]


def _conv_nodes(case: Case) -> tuple[list[Any], dict[str, Any]]:
    geometry = case.geometry
    assert isinstance(geometry, ConvGeometry)
    nodes, constants, source, pads = [], {"w": case.weights}, "x", _pads(case)
    if geometry.border.mode != "zeros":
        mode = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[geometry.border.mode]
        half = geometry.rank
        constants["pads"] = np.array([0, 0, *pads[:half], 0, 0, *pads[half:]])
        nodes.append(helper.make_node("Pad", ["x", "pads"], ["padded"], mode=mode))
        source, pads = "padded", [0] * len(pads)
    inputs = [source, "w"]
    if case.bias is not None:
        constants["bias"] = case.bias.astype(case.x.dtype)
        inputs.append("bias")
    options: dict[str, Any] = {
        "kernel_shape": geometry.kernel,
        "strides": geometry.stride,
        "dilations": geometry.dilation,
        "pads": pads,
        "group": geometry.groups,
    }
    if geometry.transposed:
        options["output_padding"] = geometry.output_padding
    name = "ConvTranspose" if geometry.transposed else "Conv"
    last = "y" if geometry.activation.kind == "none" else "linear"
    nodes.append(helper.make_node(name, inputs, [last], **options))
    if last == "linear":
        nodes.append(_activation_node(case, constants))
    return nodes, constants


def _activation_node(case: Case, constants: dict[str, Any]) -> Any:
    geometry = case.geometry
    assert isinstance(geometry, ConvGeometry)
    kind, low, high = geometry.activation
    if kind == "clip" and low == 0 and high == float("inf"):
        return helper.make_node("Relu", ["linear"], ["y"])
    if kind == "clip":
        constants["low"], constants["high"] = (np.array(bound, case.x.dtype) for bound in (low, high))
        return helper.make_node("Clip", ["linear", "low", "high"], ["y"])
    if kind == "leaky_relu":
        return helper.make_node("LeakyRelu", ["linear"], ["y"], alpha=float(low))
    if kind == "hardswish":
        return helper.make_node("HardSwish", ["linear"], ["y"])
    raise Refused(f"ONNX opset {OPSET} has no {kind}")


def _pool_nodes(case: Case) -> tuple[list[Any], dict[str, Any]]:
    geometry = case.geometry
    assert isinstance(geometry, PoolGeometry)
    names = {"max": "MaxPool", "avg": "AveragePool", "lp": "LpPool"}
    if geometry.kind not in names:
        raise Refused(f"ONNX has no {geometry.kind} pool")
    if geometry.footprint is not None:
        raise Refused("ONNX has no footprints")
    if geometry.return_indices or geometry.divisor_override is not None:
        raise Refused("return_indices and divisor_override are not compared")
    name = names[geometry.kind]
    if geometry.adaptive:
        if set(geometry.out_size) != {1}:
            raise Refused("ONNX has adaptive pools to one cell only")
        return [helper.make_node(f"Global{name}", ["x"], ["y"])], {}
    options: dict[str, Any] = {
        "kernel_shape": geometry.kernel,
        "strides": geometry.stride,
        "dilations": geometry.dilation,
        "pads": _pads(case),
        "ceil_mode": int(geometry.ceil_mode),
    }
    if geometry.kind == "avg":
        options["count_include_pad"] = int(geometry.count_include_pad)
    if geometry.kind == "lp":
        if geometry.norm_type != int(geometry.norm_type):
            raise Refused("ONNX has whole norm_type only")
        options["p"] = int(geometry.norm_type)
    return [helper.make_node(name, ["x"], ["y"], **options)], {}
