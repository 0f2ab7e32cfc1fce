"""Pad hidden layers with a few unused units, to avoid cache-set conflicts on CPUs.

A row of 3,072 float32 values is a multiple of 4 KiB, so the same column of successive rows maps to the same set of the
L1 cache. A set holds eight lines, and onnxruntime's matrix product reads twelve rows at a time. At ViT-B size, padding
makes the second linear map of each MLP a quarter faster. (Goto and van de Geijn, Anatomy of High-Performance Matrix
Multiplication, 2008, copy such blocks; onnxruntime copies the weights only.)
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from cbalign.exporting.pattern import drop_unused, linear_map, new_weights, only_user, weights

_APART = 4096
"""Distance in bytes between addresses of the same cache set, for caches of 32 KiB with 8 ways or 48 KiB with 12."""

_IDLE = 16
"""Number of added units: one cache line of float32."""

_MARK = "_widened"


def widen_hidden(model: ir.Model) -> None:
    """Widen the hidden layer of each MLP (linear map, GELU, linear map) of a float32 graph with cache-set conflicts.

    The added weights and activations are 0, so the graph's inputs and outputs do not change.
    """
    for node in list(model.graph):
        if node.op_type == "Gelu" and node.domain == "":
            _widen(model.graph, node)


def idle_bytes(model: onnx.ModelProto) -> int:
    """Return the bytes that `widen_hidden` added to a float32 graph's weights."""
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
    _set_weights(graph, first.product, np.pad(first.matrix, ((0, 0), (0, _IDLE))))
    _set_weights(graph, first.add, np.pad(first.bias, (0, _IDLE)))
    _set_weights(graph, second, np.pad(out_of, ((0, _IDLE), (0, 0))))
    for node in (first.product, first.add, gelu):
        value = node.outputs[0]
        # The tensor no longer equals the module's output, nor the tensor of that name in another precision.
        node.metadata_props.clear()
        value.name = f"{value.name}{_MARK}"
        if value.shape is not None:
            value.shape = ir.Shape([*value.shape[:-1], len(first.bias) + _IDLE])


def _set_weights(graph: ir.Graph, node: ir.Node, numbers: np.ndarray) -> None:
    """Replace a node's weights by wider ones, without changing weights that other nodes read."""
    old = node.inputs[1]
    assert old is not None
    name = f"{old.name}{_MARK}"
    node.replace_input_with(1, graph.initializers.get(name) or new_weights(graph, name, numbers))
    drop_unused(graph, [old])
