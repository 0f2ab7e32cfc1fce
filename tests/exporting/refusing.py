"""A graph that onnxruntime refuses to compute in the place of another."""

from __future__ import annotations

import onnxruntime
from onnx import TensorProto, helper


def graph_of_other_inputs() -> onnxruntime.InferenceSession:
    """A graph whose input no model has."""
    there = helper.make_tensor_value_info("there", TensorProto.FLOAT, [1])
    back = helper.make_tensor_value_info("back", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["there"], ["back"])], "other", [there], [back])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString())
