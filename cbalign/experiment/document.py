"""Untyped specs: a tree of nodes with line and column numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

Value = str | int | float | bool | None

# Where PyYAML sees a line end.
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


@dataclass(frozen=True, eq=False)
class SourceText:
    """A source text that contains values.

    Args:
        name: its name in messages: the path as a user would type it, or the option.
        text: the whole text.
        path: the file; `None` for options and for standard input.
        kind: a file, a command-line option, or a default that was not written.
    """

    name: str
    text: str = field(repr=False)
    path: Path | None = None
    kind: Literal["file", "option", "default"] = "file"

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the text, without line endings."""
        return _LINE_END.split(self.text)

    @property
    def folder(self) -> Path:
        """The folder that relative paths in this text are resolved against."""
        return self.path.parent if self.path else Path.cwd()


@dataclass(frozen=True)
class Place:
    """A range within one line. Lines and columns count from 1."""

    source: SourceText
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        if self.source.kind == "option":
            return self.source.name
        return f"{self.source.name}:{self.line}:{self.column}"


# The place of default values.
DEFAULT = Place(SourceText("default", "", kind="default"), 1, 1, 0)


@dataclass(frozen=True)
class ScalarNode:
    """A scalar value. `plain`: unquoted, so that its type was inferred from its text."""

    value: Value
    place: Place
    plain: bool = True


@dataclass(frozen=True)
class ListNode:
    """A sequence of nodes."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True)
class MapEntry:
    """An entry of a mapping: the place of the key, and the value."""

    key: Place
    value: Node


@dataclass(frozen=True)
class MapNode:
    """A mapping from names to nodes, in source order."""

    entries: dict[str, MapEntry]
    place: Place

    def get(self, name: str) -> Node | None:
        """Return the value of `name`, or `None` if there is no such key."""
        entry = self.entries.get(name)
        return entry.value if entry else None

    def with_entry(self, name: str, entry: MapEntry) -> MapNode:
        """Return a copy with another value for `name`."""
        return MapNode({**self.entries, name: entry}, self.place)

    def without(self, *names: str) -> MapNode:
        """Return a copy without `names`."""
        return MapNode({k: v for k, v in self.entries.items() if k not in names}, self.place)


Node = ScalarNode | ListNode | MapNode
Data = Value | list["Data"] | dict[str, "Data"]


def plain_data(node: Node) -> Data:
    """Convert the tree to JSON data, without places."""
    match node:
        case ScalarNode():
            return node.value
        case ListNode():
            return [plain_data(item) for item in node.items]
        case MapNode():
            return {name: plain_data(entry.value) for name, entry in node.entries.items()}


def made_node(data: object) -> Node:
    """Convert JSON data to a tree of default values."""
    if isinstance(data, Mapping):
        entries = {str(name): MapEntry(DEFAULT, made_node(value)) for name, value in data.items()}
        return MapNode(entries, DEFAULT)
    if isinstance(data, list):
        return ListNode(tuple(map(made_node, data)), DEFAULT)
    assert data is None or isinstance(data, str | int | float | bool), "JSON has no other values"
    return ScalarNode(data, DEFAULT)


def same(a: Node, b: Node) -> bool:
    """Whether two nodes are equal in value; 1 equals 1.0, but not true."""
    match a, b:
        case ScalarNode(), ScalarNode():
            return isinstance(a.value, bool) == isinstance(b.value, bool) and a.value == b.value
        case ListNode(), ListNode():
            return len(a.items) == len(b.items) and all(map(same, a.items, b.items))
        case MapNode(), MapNode():
            return a.entries.keys() == b.entries.keys() and all(
                same(entry.value, b.entries[name].value) for name, entry in a.entries.items()
            )
    return False


def child(node: Node, step: str | int) -> Node | None:
    """Return the child node at one step of a path, or `None`."""
    if isinstance(node, MapNode):
        return node.get(str(step))
    if isinstance(node, ListNode) and str(step).isdecimal() and len(str(step)) < 10 and int(step) < len(node.items):
        return node.items[int(step)]
    return None


def walk(node: Node, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Node]]:
    """Yield every node with its path, parents first."""
    yield path, node
    if isinstance(node, MapNode):
        for name, entry in node.entries.items():
            yield from walk(entry.value, (*path, name))
    elif isinstance(node, ListNode):
        for index, item in enumerate(node.items):
            yield from walk(item, (*path, index))
