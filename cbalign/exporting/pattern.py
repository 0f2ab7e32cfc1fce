"""Helpers to match and rewrite patterns of nodes in exported graphs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


@dataclass(frozen=True)
class LinearMap:
    """Nodes of y = x W + b: the MatMul with W (in, out) as its second input, the Add with b (out,) as its second."""

    product: ir.Node
    add: ir.Node
    matrix: NDArray[np.float32]
    bias: NDArray[np.float32]


def made_by(value: ir.Value | None, operator: str) -> ir.Node | None:
    """Return the node that outputs a value, if it has this operator."""
    producer = None if value is None else value.producer()
    return producer if producer is not None and producer.op_type == operator else None


def only_user(value: ir.Value, operator: str) -> ir.Node | None:
    """Return the only node that reads a value, if there is exactly one and it has this operator."""
    users = [use.node for use in value.uses()]
    return users[0] if len(users) == 1 and users[0].op_type == operator and not value.is_graph_output() else None


def linear_map(value: ir.Value | None) -> LinearMap | None:
    """Return the linear map with bias that outputs a value, if its product has no other reader."""
    add = made_by(value, "Add")
    if add is None:
        return None
    if made_by(add.inputs[0], "MatMul") is None:  # either operand may be the product
        for position, given in enumerate(reversed(add.inputs)):
            add.replace_input_with(position, given)
    product = made_by(add.inputs[0], "MatMul")
    if product is None or only_user(product.outputs[0], "Add") is None:
        return None
    matrix, bias = weights(product.inputs[1]), weights(add.inputs[1])
    if matrix is None or bias is None or matrix.shape[1:] != bias.shape:
        return None
    return LinearMap(product, add, matrix, bias)


def weights(value: ir.Value | None) -> NDArray[np.float32] | None:
    """Return the values of a float32 initializer."""
    if value is None or not value.is_initializer() or value.const_value is None or value.dtype != ir.DataType.FLOAT:
        return None
    return value.const_value.numpy()


def new_weights(graph: ir.Graph, name: str, numbers: NDArray[np.float32]) -> ir.Value:
    """Add an initializer."""
    tensor = ir.tensor(np.ascontiguousarray(numbers), name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(numbers.shape), const_value=tensor)
    graph.register_initializer(value)
    return value


def integers(value: ir.Value | None) -> list[int] | None:
    """Return the values of a constant as a flat list."""
    constant = None if value is None else ir.convenience.get_const_tensor(value)
    return None if constant is None else np.asarray(constant.numpy()).ravel().tolist()


def remove_unused(graph: ir.Graph, last: ir.Node) -> None:
    """Remove a node and, going backwards, all nodes and weights that nothing else uses."""
    waiting = [last]
    while waiting:
        node = waiting.pop()
        if node.graph is not graph or any(value.uses() or value.is_graph_output() for value in node.outputs):
            continue
        given = [value for value in node.inputs if value is not None]
        graph.remove(node, safe=True)
        drop_unused(graph, given)
        waiting += [producer for value in given if (producer := value.producer()) is not None]


def drop_unused(graph: ir.Graph, values: list[ir.Value]) -> None:
    """Remove the unused initializers among `values`."""
    for value in values:
        if value.is_initializer() and not value.uses() and value.name is not None:
            del graph.initializers[value.name]
