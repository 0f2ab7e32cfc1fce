"""Remove the transposes around opset 23's Attention, which splits tokens into heads by itself.

PyTorch's exporter writes attention over (B, heads, L, d), with a transpose before each input and after the output. At
ViT-B size, the transposes take a tenth of an int8 graph's time on a CPU; splitting the output of one linear map into
queries, keys and values takes another 3 %.
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
    """Rewrite each Attention node to read (B, L, D) instead of (B, heads, L, d), if its inputs are reshaped from it.

    Unused transposes are removed; other Attention nodes are unchanged. The graph's outputs are the same.
    """
    for node in list(model.graph):
        if node.op_type == "Attention" and node.domain == "":
            _fold(model.graph, node)


def _fold(graph: ir.Graph, attention: ir.Node) -> None:
    merged, heads = _merge_output(attention.outputs[0]), _head_count(attention)
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


def _merge_output(value: ir.Value) -> ir.Value | None:
    """Return the tensor (B, L, D) that heads (B, heads, L, d) are merged into."""
    transposed = only_user(value, "Transpose")
    if transposed is None or _perm(transposed) != _TO_HEADS:
        return None
    reshaped = only_user(transposed.outputs[0], "Reshape")
    return None if reshaped is None or _rank(reshaped.outputs[0]) != 3 else reshaped.outputs[0]


def _of_own_maps(attention: ir.Node) -> list[ir.Value] | None:
    """Return queries, keys and values (B, L, D), if each is reshaped and transposed separately."""
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
    """Return queries, keys and values from one linear map (B, L, 3 D), which timm transposes and unbinds."""
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
    return _cut_map(graph, attention, tokens) or _add_split(graph, attention, tokens)


def _cut_map(graph: ir.Graph, attention: ir.Node, tokens: ir.Value) -> list[ir.Value] | None:
    """Replace the shared linear map by one for each part: on a CPU, this saves copying the parts."""
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


def _add_split(graph: ir.Graph, attention: ir.Node, tokens: ir.Value) -> list[ir.Value]:
    split = ir.Node(
        "", "Split", [tokens], [ir.AttrInt64("axis", -1), ir.AttrInt64("num_outputs", _PARTS)], num_outputs=_PARTS
    )
    for output, letter in zip(split.outputs, "qkv", strict=True):
        output.name, output.type = f"{attention.outputs[0].name}_{letter}", tokens.type
    graph.insert_before(attention, split)
    return list(split.outputs)


def _head_count(attention: ir.Node) -> int | None:
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
