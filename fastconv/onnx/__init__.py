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

from fastconv.onnx.models import backend, ops

__all__ = ["backend", "ops"]
