"""ONNX's own node tests of the operators that fastconv has, and what those leave out."""

import importlib
import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from onnx import TensorProto, helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

import fastconv as fc  # noqa: E402
from fastconv.onnx import backend, ops  # noqa: E402

NAMES = {one.__name__ for one in ops}
KINDS = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8}


def node_tests(name):
    """The onnx package's node tests of an operator.

    Its module computes what they expect while it is imported, some of them for seconds: never while tests are collected.
    """
    package = "onnx.backend.test.case.node"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(f"{package}.{name.lower()}")
    return [one for one in importlib.import_module(package)._NodeTestCases if name in operators(one)]


def operators(case):
    """The types of the nodes of a case's graph."""
    return {node.op_type for node in case.model.graph.node}


def check(case):
    """A case's graph gives what it expects."""
    prepared = backend.prepare(case.model)
    for inputs, outputs in case.data_sets:
        found = prepared.run(inputs)
        assert len(found) == len(outputs), case.name
        for one, expected in zip(found, outputs, strict=True):
            assert one.dtype == expected.dtype, case.name
            np.testing.assert_allclose(one, expected, rtol=case.rtol, atol=case.atol, strict=True, err_msg=case.name)


@pytest.mark.parametrize("name", sorted(NAMES - {"GlobalLpPool"}))  # of which the onnx package has none
def test_node(name, threads):
    """The first three: each compiles kernels for sizes of its own."""
    cases = node_tests(name)
    assert cases
    for case in cases[:3]:
        check(case)


@pytest.mark.slow
def test_every_node(threads):
    """Every node test of the onnx package whose graph has one of the operators."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = [one for one in load_model_tests(kind="node") if NAMES & operators(one)]
    assert len(cases) >= 85
    for case in cases:
        check(case)


def evaluated(name, inputs, outputs=1, opset=21, new_ops=tuple(ops), **attributes):
    """What a model of one node gives."""
    names = [f"x{i}" for i in range(len(inputs))]
    node = helper.make_node(name, names, [f"y{i}" for i in range(outputs)], **attributes)
    known = [
        helper.make_tensor_value_info(one, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for one, x in zip(names, inputs, strict=True)
    ]
    results = [helper.make_tensor_value_info(f"y{i}", TensorProto.UNDEFINED, None) for i in range(outputs)]
    graph = helper.make_graph([node], "case", known, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return ReferenceEvaluator(model, new_ops=list(new_ops)).run(None, dict(zip(names, inputs, strict=True)))


@pytest.mark.parametrize(
    ("name", "opset", "attributes"),
    [
        *(("Conv", opset, {"pads": [1, 1, 1, 1]}) for opset in (1, 11, 21, 22)),
        *(("MaxPool", opset, {"kernel_shape": [2, 2]}) for opset in (1, 8, 10, 12, 22)),
        *(("AveragePool", opset, {"kernel_shape": [2, 2]}) for opset in (1, 7, 10, 11, 19, 22)),
        *(("LpPool", opset, {"kernel_shape": [2, 2]}) for opset in (2, 11, 18, 22)),
        ("LpPool", 1, {"kernel_shape": [2, 2], "p": 3.0}),
        *(("GlobalLpPool", opset, {}) for opset in (2, 22)),
        ("GlobalAveragePool", 1, {}),
    ],
)
def test_every_opset_gives_fastconvs_own_result(name, opset, attributes, rng, threads):
    """Attributes that an opset does not have take the values that they always had."""
    x = rng.standard_normal((1, 4, 6, 6), np.float32)
    w = rng.standard_normal((4, 4, 3, 3), np.float32)
    (found,) = evaluated(name, [x, w] if name == "Conv" else [x], opset=opset, **attributes)
    p = attributes.get("p", 2)
    expected = {
        "Conv": lambda: fc.conv2d(x, w, padding=1),
        "MaxPool": lambda: fc.max_pool2d(x, 2, 1),
        "AveragePool": lambda: fc.avg_pool2d(x, 2, 1, count_include_pad=False),
        "LpPool": lambda: fc.lp_pool2d(x, p, 2, 1),
        "GlobalLpPool": lambda: fc.lp_pool2d(x, 2, 6),
        "GlobalAveragePool": lambda: fc.global_avg_pool(x),
    }[name]()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_indices_count_the_whole_tensor_in_either_storage_order(rng, threads):
    x = rng.standard_normal((2, 3, 4, 6), np.float32)
    for order in (0, 1):
        y, where = evaluated("MaxPool", [x], 2, kernel_shape=[2, 2], strides=[2, 2], storage_order=order)
        cells = x if order == 0 else x.transpose(0, 1, 3, 2)
        assert (np.ascontiguousarray(cells).ravel()[where] == y).all()
    (back,) = evaluated("MaxUnpool", list(evaluated("MaxPool", [x], 2, kernel_shape=[2, 2], strides=[2, 2])),
                        kernel_shape=[2, 2], strides=[2, 2])  # fmt: skip
    assert (back[back != 0] == x[back != 0]).all()
    assert (back != 0).sum() == y.size


@pytest.mark.parametrize("name", ["MaxPool", "AveragePool", "LpPool"])
def test_padding_may_reach_further_than_half_a_window(name, rng, threads):
    """A kernel of 3 with 2 cells of padding: against the same pool of an input that is padded before."""
    x = np.abs(rng.standard_normal((1, 2, 4, 4), np.float32))
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    (found,) = evaluated(name, [x], kernel_shape=[3, 3], pads=[2, 2, 2, 2])
    if name == "AveragePool":
        inside = fc.avg_pool2d(np.pad(np.ones_like(x), ((0, 0), (0, 0), (2, 2), (2, 2))), 3, 1)
        expected = fc.avg_pool2d(padded, 3, 1) / inside
    else:
        expected = fc.max_pool2d(padded, 3, 1) if name == "MaxPool" else fc.lp_pool2d(padded, 2, 3, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_quantized_sums_are_exact(rng, threads):
    """A zero point for x and one for each output channel: integers of any order of sums."""
    x = rng.integers(0, 256, (1, 4, 6, 6)).astype(np.uint8)
    w = rng.integers(-128, 128, (4, 4, 3, 3)).astype(np.int8)
    zeros = rng.integers(-5, 6, 4).astype(np.int8)
    (found,) = evaluated("ConvInteger", [x, w, np.array(7, np.uint8), zeros], opset=10, pads=[1, 1, 1, 1])
    wide = (w.astype(int) - zeros[:, None, None, None]).astype(np.int32)
    expected = fc.conv2d(x.astype(np.int32) - 7, wide, padding=1)
    assert found.dtype == np.int32
    assert (found == expected).all()
    one = np.array(1, np.float32)
    scales = np.array([0.5, 0.25, 1, 2], np.float32)
    inputs = [x, one, np.array(7, np.uint8), w, scales, zeros, np.array(64, np.float32), np.array(3, np.uint8)]
    (rounded,) = evaluated("QLinearConv", inputs, opset=10, pads=[1, 1, 1, 1])
    exact = np.rint(expected * (scales[:, None, None] / 64)) + 3
    assert (rounded == np.clip(exact, 0, 255)).all()


@pytest.mark.parametrize("shape", [[9, 7], [12, 12], [4, 5]])
@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
def test_a_transposed_convolution_of_a_wanted_shape(shape, auto_pad, rng, threads):
    """Cut from, or set into, the uncut output, with the bias where no input reaches."""
    x, w = rng.standard_normal((1, 4, 4, 4), np.float32), rng.standard_normal((4, 4, 3, 3), np.float32)
    bias = rng.standard_normal(4, np.float32)
    (found,) = evaluated("ConvTranspose", [x, w, bias], strides=[2, 2], output_shape=shape, auto_pad=auto_pad)
    full = np.pad(fc.conv_transpose2d(x, w, stride=2), ((0, 0), (0, 0), (0, 8), (0, 8))) + bias[:, None, None]
    totals = [max(0, 9 - size) for size in shape]
    h, v = (total // 2 if auto_pad == "SAME_UPPER" else total - total // 2 for total in totals)
    np.testing.assert_allclose(found, full[:, :, h : h + shape[0], v : v + shape[1]], rtol=1e-4, atol=1e-5)


def test_wrong_attributes_are_named(rng):
    x = rng.standard_normal((1, 4, 6, 6), np.float32)
    with pytest.raises(ValueError, match="auto_pad must be NOTSET or one of"):
        evaluated("MaxPool", [x], kernel_shape=[2, 2], auto_pad="SOME")
    with pytest.raises(ValueError, match="pads must have 4 entries"):
        evaluated("MaxPool", [x], kernel_shape=[2, 2], pads=[1, 1])
    with pytest.raises(ValueError, match="X must have a batch, a channel and 1 to 3 spatial axes"):
        evaluated("MaxPool", [x[None, None]], kernel_shape=[2] * 4)
    with pytest.raises(ValueError, match="device must be 'CPU'"):
        backend.prepare(node_tests("Conv")[0].model, "CUDA")


def test_a_backend_runs_nodes():
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert backend.run_node(node, [x])[0].ravel().tolist() == [5, 7, 13, 15]
