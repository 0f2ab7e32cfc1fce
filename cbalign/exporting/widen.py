"""Hidden layers wider by a few idle units, so that a CPU's cache holds more than a few of their rows at once.

A row of 3,072 float32 numbers is a multiple of 4 KiB, and so is the distance between rows: one column of a block of
rows falls into one set of an L1 cache, which holds eight of them, and onnxruntime's product reads twelve. At ViT-B size
the second map of each MLP takes a quarter less time without that. (Goto and van de Geijn, Anatomy of High-Performance
Matrix Multiplication, 2008, copy such blocks; onnxruntime copies the weights only.)
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from cbalign.exporting.pattern import drop_unused, linear_map, new_weights, only_user, weights

_APART = 4096
"""Bytes from one address to the next of the same set: caches of 32 KiB in 8 ways, or of 48 KiB in 12."""

_IDLE = 16
"""Units that are added: one cache line of float32."""

_MARK = "_widened"


def widen_hidden(model: ir.Model) -> None:
    """Widen the hidden layer of every map, GELU, map of a float32 graph whose rows fall on each other in the cache.

    What is added is 0 and stays 0. Inputs, outputs and their numbers are the same.
    """
    for node in list(model.graph):
        if node.op_type == "Gelu" and node.domain == "":
            _widen(model.graph, node)


def idle_bytes(model: onnx.ModelProto) -> int:
    """How many bytes of a float32 graph's weights `widen_hidden` added."""
    total = 0
    for tensor in model.graph.initializer:
        if tensor.name.endswith(_MARK):
            size = 4 * int(np.prod(tensor.dims))
            total += max(_IDLE * size // width for width in tensor.dims if 4 * (width - _IDLE) % _APART == 0)
    return total


def _widen(graph: ir.Graph, gelu: ir.Node) -> None:
    first, second = linear_map(gelu.inputs[0]), only_user(gelu.outputs[0], "MatMul")
    if first is None or second is None or only_user(first.add.outputs[0], "Gelu") is None:
        return
    out_of = weights(second.inputs[1])
    if out_of is None or first.bias.nbytes % _APART:
        return
    _give(graph, first.product, np.pad(first.matrix, ((0, 0), (0, _IDLE))))
    _give(graph, first.add, np.pad(first.bias, (0, _IDLE)))
    _give(graph, second, np.pad(out_of, ((0, _IDLE), (0, 0))))
    for node in (first.product, first.add, gelu):
        value = node.outputs[0]
        # It is no longer what the module gives, nor the tensor of that name in another precision.
        node.metadata_props.clear()
        value.name = f"{value.name}{_MARK}"
        if value.shape is not None:
            value.shape = ir.Shape([*value.shape[:-1], len(first.bias) + _IDLE])


def _give(graph: ir.Graph, node: ir.Node, numbers: np.ndarray) -> None:
    """Give a node wider weights: those that it has may be read elsewhere as well."""
    old = node.inputs[1]
    assert old is not None
    name = f"{old.name}{_MARK}"
    node.replace_input_with(1, graph.initializers.get(name) or new_weights(graph, name, numbers))
    drop_unused(graph, [old])
