"""Opset 23's Attention on tokens as they are: it splits them into heads by itself, and no graph need transpose them.

PyTorch's exporter writes what PyTorch's attention wants, (B, heads, L, d), with a transpose before each input and after
the output. At ViT-B size these are a tenth of an int8 graph's time on a CPU, and cutting what one map gives into
queries, keys and values is another 3 %.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from cbalign.exporting.pattern import integers, linear_map, made_by, new_weights, only_user, remove_unused

_TO_HEADS = (0, 2, 1, 3)
_PACKED_TO_HEADS = (2, 0, 3, 1, 4)
_PARTS = 3  # queries, keys and values of one linear map


def fold_heads(model: ir.Model) -> None:
    """Give every Attention of a graph (B, L, D) instead of (B, heads, L, d), where that is what its inputs come from.

    The transposes that are left without a use go; other attentions stay as they are. Shapes and numbers are the same.
    """
    for node in list(model.graph):
        if node.op_type == "Attention" and node.domain == "":
            _fold(model.graph, node)


def _fold(graph: ir.Graph, attention: ir.Node) -> None:
    merged, heads = _merged(attention.outputs[0]), _heads(attention)
    if merged is None or heads is None:
        return
    tokens = _of_one_map(graph, attention) or _of_own_maps(attention)
    if tokens is None:
        return
    folded = ir.Node(
        "",
        "Attention",
        [*tokens, *attention.inputs[3:]],
        [*attention.attributes.values(), ir.AttrInt64("q_num_heads", heads), ir.AttrInt64("kv_num_heads", heads)],
        num_outputs=1,
        name=attention.name,
        metadata_props=dict(_producer(merged).metadata_props),
    )
    output = folded.outputs[0]
    output.name, output.type, output.shape = merged.name, merged.type, merged.shape
    graph.insert_before(attention, folded)
    merged.replace_all_uses_with(output)
    remove_unused(graph, _producer(merged))


def _merged(value: ir.Value) -> ir.Value | None:
    """The one tensor (B, L, D) that heads (B, heads, L, d) are made into."""
    transposed = only_user(value, "Transpose")
    if transposed is None or _perm(transposed) != _TO_HEADS:
        return None
    reshaped = only_user(transposed.outputs[0], "Reshape")
    return None if reshaped is None or _rank(reshaped.outputs[0]) != 3 else reshaped.outputs[0]


def _of_own_maps(attention: ir.Node) -> list[ir.Value] | None:
    """(B, L, D) of queries, keys and values that are each reshaped and transposed."""
    found = []
    for value in attention.inputs[:_PARTS]:
        transposed = made_by(value, "Transpose")
        reshaped = None if transposed is None else made_by(transposed.inputs[0], "Reshape")
        if transposed is None or reshaped is None or _perm(transposed) != _TO_HEADS:
            return None
        tokens = reshaped.inputs[0]
        if tokens is None or _rank(tokens) != 3:
            return None
        found.append(tokens)
    return found


def _of_one_map(graph: ir.Graph, attention: ir.Node) -> list[ir.Value] | None:
    """The three parts of one linear map (B, L, 3 D), where timm unbinds them behind a transpose."""
    sources: list[ir.Value] = []
    for part, value in enumerate(attention.inputs[:_PARTS]):
        squeezed = made_by(value, "Squeeze")
        sliced = None if squeezed is None else made_by(squeezed.inputs[0], "Slice")
        transposed = None if sliced is None else made_by(sliced.inputs[0], "Transpose")
        reshaped = None if transposed is None else made_by(transposed.inputs[0], "Reshape")
        if sliced is None or transposed is None or reshaped is None or _perm(transposed) != _PACKED_TO_HEADS:
            return None
        if [integers(bound) for bound in sliced.inputs[1:4]] != [[part], [part + 1], [0]]:
            return None
        source = reshaped.inputs[0]
        if source is None or _rank(source) != 3:
            return None
        sources.append(source)
    tokens, *others = sources
    if any(other is not tokens for other in others):
        return None
    return _cut_map(graph, attention, tokens) or _split(graph, attention, tokens)


def _cut_map(graph: ir.Graph, attention: ir.Node, tokens: ir.Value) -> list[ir.Value] | None:
    """A map for each part instead of one for all: a CPU computes the same and copies nothing."""
    found = linear_map(tokens)
    if found is None:
        return None
    parts = []
    cuts = zip("qkv", np.split(found.matrix, _PARTS, axis=1), np.split(found.bias, _PARTS), strict=True)
    for letter, columns, numbers in cuts:
        name = f"{attention.outputs[0].name}_{letter}"
        matrix, bias = new_weights(graph, f"{name}_weight", columns), new_weights(graph, f"{name}_bias", numbers)
        mapped = ir.Node("", "MatMul", [found.product.inputs[0], matrix], name=f"{name}_map")
        biased = ir.Node("", "Add", [mapped.outputs[0], bias], name=f"{name}_add")
        for node, output in ((mapped, f"{name}_mapped"), (biased, name)):
            value = node.outputs[0]
            value.name, value.type = output, tokens.type
            value.shape = None if tokens.shape is None else ir.Shape([*tokens.shape[:-1], len(numbers)])
            graph.insert_before(attention, node)
        parts.append(biased.outputs[0])
    return parts


def _split(graph: ir.Graph, attention: ir.Node, tokens: ir.Value) -> list[ir.Value]:
    split = ir.Node(
        "", "Split", [tokens], [ir.AttrInt64("axis", -1), ir.AttrInt64("num_outputs", _PARTS)], num_outputs=_PARTS
    )
    for output, letter in zip(split.outputs, "qkv", strict=True):
        output.name, output.type = f"{attention.outputs[0].name}_{letter}", tokens.type
    graph.insert_before(attention, split)
    return list(split.outputs)


def _heads(attention: ir.Node) -> int | None:
    value = attention.inputs[0]
    heads = value.shape[1] if value is not None and value.shape is not None and len(value.shape) == 4 else None
    return heads if isinstance(heads, int) else None


def _producer(value: ir.Value) -> ir.Node:
    producer = value.producer()
    assert producer is not None
    return producer


def _perm(transpose: ir.Node) -> Sequence[int]:
    return tuple(transpose.attributes["perm"].as_ints())


def _rank(value: ir.Value) -> int | None:
    return None if value.shape is None else len(value.shape)
