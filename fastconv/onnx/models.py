"""ONNX models: the operators for ONNX's reference evaluator, and a backend made of the two."""

from typing import Any

import onnx
from onnx.backend.base import Backend, BackendRep
from onnx.reference import ReferenceEvaluator

from fastconv.onnx.convolutions import Conv, ConvInteger, ConvTranspose, QLinearConv
from fastconv.onnx.pools import AveragePool, Col2Im, GlobalAveragePool, GlobalLpPool, GlobalMaxPool, LpPool, MaxPool, MaxUnpool

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
