"""Convert a float32 graph to half precision, keeping float32 for operators that would overflow.

Products, sums and operators that only move data are computed in half precision; softmax, norms, pooling and all other
operators stay in float32, with casts between them. Inputs and outputs keep their types, so all precisions share one
runtime.

onnxruntime's own converter names two casts the same if two float32 operators read one value; such a graph is invalid.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir

_PRODUCTS = {"MatMul", "Gemm", "Conv", "Attention"}
_MOVES = {"Transpose", "Reshape", "Slice", "Squeeze", "Unsqueeze", "Concat", "Gather", "Expand", "Identity", "Split"}
HALF_OPERATORS = frozenset({*_PRODUCTS, *_MOVES, "Add", "Mul", "Gelu", "Erf", "Tanh"})
"""All other operators stay in float32."""

_DTYPE = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
_NUMPY = {"fp16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}


def to_half(model: ir.Model, precision: str) -> None:
    """Convert a float32 graph in place.

    Args:
        model: float32 graph with known value types and no subgraphs.
        precision: fp16 or bf16.
    """
    _Converter(model.graph, precision).run()


class _Converter:
    """Converts a graph in one pass. Caches casts, so that each value is cast at most once in each direction."""

    def __init__(self, graph: ir.Graph, precision: str) -> None:
        self.graph = graph
        self.dtype = _DTYPE[precision]
        self.numpy = _NUMPY[precision]
        self.halves: dict[ir.Value, ir.Value] = {}
        self.floats: dict[ir.Value, ir.Value] = {}

    def run(self) -> None:
        outputs = list(self.graph.outputs)
        for node in list(self.graph):
            half = node.op_type in HALF_OPERATORS and any(map(_is_float, (*node.inputs, *node.outputs)))
            for position, value in enumerate(node.inputs):
                if value is None:
                    continue
                if half and _is_float(value):
                    node.replace_input_with(position, self._half(value, node))
                elif not half and value.dtype == self.dtype:
                    node.replace_input_with(position, self._float(value, node))
            if half:
                for value in filter(_is_float, node.outputs):
                    value.type = ir.TensorType(self.dtype)
        for position, value in enumerate(outputs):
            if value.dtype == self.dtype:
                self._restore_output(position, value)
        for name in [name for name, value in self.graph.initializers.items() if not value.uses()]:
            del self.graph.initializers[name]

    def _half(self, value: ir.Value, user: ir.Node) -> ir.Value:
        if value not in self.halves:
            weights = value.const_value if value.is_initializer() else None
            if weights is not None:
                self.halves[value] = self._weights(value, weights)
            else:
                self.halves[value] = self._cast(value, self.dtype, user)
        return self.halves[value]

    def _float(self, value: ir.Value, user: ir.Node) -> ir.Value:
        if value not in self.floats:
            self.floats[value] = self._cast(value, ir.DataType.FLOAT, user)
        return self.floats[value]

    def _weights(self, value: ir.Value, weights: ir.TensorProtocol) -> ir.Value:
        name = f"{value.name}_{self.dtype.name.lower()}"
        stored = ir.Value(name=name, type=ir.TensorType(self.dtype), shape=value.shape)
        stored.const_value = ir.tensor(weights.numpy().astype(self.numpy), name=name)
        self.graph.register_initializer(stored)
        return stored

    def _cast(self, value: ir.Value, dtype: ir.DataType, user: ir.Node) -> ir.Value:
        node = ir.node("Cast", [value], {"to": dtype.value})
        cast = node.outputs[0]
        cast.name, cast.type, cast.shape = f"{value.name}_{dtype.name.lower()}", ir.TensorType(dtype), value.shape
        self.graph.insert_before(user, node)
        return cast

    def _restore_output(self, position: int, value: ir.Value) -> None:
        node = ir.node("Cast", [value], {"to": ir.DataType.FLOAT.value})
        restored = node.outputs[0]
        restored.name, restored.type, restored.shape = value.name, ir.TensorType(ir.DataType.FLOAT), value.shape
        value.name = f"{value.name}_{self.dtype.name.lower()}"
        self.graph.append(node)
        self.graph.outputs[position] = restored


def _is_float(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.FLOAT
