"""Find the files that an ONNX graph keeps tensors in, without the package `onnx`.

Reads those parts of the protobuf messages that can lead to a tensor; numbers are the fields of onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cbalign.errors import BundleError

_LONGEST_VARINT, _DEEPEST = 10, 100


@dataclass
class _Message:
    """The fields of a message that can lead to a tensor."""

    fields: dict[int, _Message] = field(default_factory=dict)


_ENTRY = _Message()  # StringStringEntryProto
TENSOR = _Message({13: _ENTRY})  # external_data
SPARSE = _Message({1: TENSOR, 2: TENSOR})  # values, indices
ATTRIBUTE, GRAPH = _Message(), _Message()
NODE = _Message({5: ATTRIBUTE})
# t, g, tensors, graphs, sparse_tensor, sparse_tensors
ATTRIBUTE.fields.update({5: TENSOR, 6: GRAPH, 10: TENSOR, 11: GRAPH, 22: SPARSE, 23: SPARSE})
GRAPH.fields.update({1: NODE, 5: TENSOR, 15: SPARSE})  # node, initializer, sparse_initializer
FUNCTION = _Message({7: NODE, 11: ATTRIBUTE})
TRAINING = _Message({1: GRAPH, 2: GRAPH})
MODEL = _Message({7: GRAPH, 20: TRAINING, 25: FUNCTION})


def external_files(path: Path) -> set[str]:
    """Return the locations, as written, of all tensors that an ONNX file keeps in other files.

    Raises:
        BundleError: it is not an ONNX file.
        OSError: it cannot be read.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return {_location(content, *entry) for entry in _entries(content, 0, len(content), MODEL, 0)} - {""}
    except (ValueError, IndexError) as error:
        raise BundleError(
            f"{path}: not a valid ONNX graph ({error})", remedy="Export it again with `cbalign export`."
        ) from error


def _entries(content: mmap.mmap, start: int, end: int, message: _Message, depth: int) -> Iterator[tuple[int, int]]:
    """Iterate over the ranges of all entries of external data below a message."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    for number, first, last in _fields(content, start, end):
        inner = message.fields.get(number)
        if inner is _ENTRY:
            yield first, last
        elif inner is not None:
            yield from _entries(content, first, last, inner, depth + 1)


def _location(content: mmap.mmap, start: int, end: int) -> str:
    """Return the value of an entry `location`, empty for other entries."""
    values: Mapping[int, bytes] = {number: content[first:last] for number, first, last in _fields(content, start, end)}
    return values.get(2, b"").decode("utf-8", "replace") if values.get(1) == b"location" else ""


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Iterate over number and range of the fields of a message that are messages, texts or bytes."""
    while start < end:
        tag, start = _varint(content, start)
        kind, length = tag & 7, 0
        if kind == 0:
            _, start = _varint(content, start)
        elif kind in (1, 5):
            start += 8 if kind == 1 else 4
        elif kind == 2:
            length, start = _varint(content, start)
            if length > end - start:
                raise ValueError("a field is longer than its message")
            yield tag >> 3, start, start + length
        else:
            raise ValueError("an unknown kind of field")
        start += length


def _varint(content: mmap.mmap, start: int) -> tuple[int, int]:
    value = 0
    for place in range(_LONGEST_VARINT):
        byte = content[start + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, start + place + 1
    raise ValueError("a number without an end")
