"""A strict YAML 1.2 reader that returns a tree of nodes with source places.

PyYAML scans and parses, `cbalign.experiment.scalars` resolves plain scalars; this module checks keys and enforces
limits on the event stream. Tags are rejected.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from cbalign.experiment.diagnostics import Diagnostic, InvalidSpec
from cbalign.experiment.document import ListNode, MapEntry, MapNode, Node, Place, ScalarNode, SourceText
from cbalign.experiment.scalars import plain_value
from cbalign.experiment.yaml_errors import explain_yaml_error

MAX_BYTES = 256 * 1024
MAX_DEPTH = 40
MAX_NODES = 20_000

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_file(path: Path, name: str) -> SourceText:
    """Read the text of a file; `-` is standard input.

    Raises:
        InvalidSpec: missing, unreadable, too long or not UTF-8.
    """
    try:
        if str(path) == "-":
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(path, "rb") as file:
                raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidSpec([Diagnostic(f"cannot read {name}: {reason[:1].lower()}{reason[1:]}")]) from error
    return decode_source(raw, name, None if str(path) == "-" else path.absolute())


def decode_source(raw: bytes, name: str, path: Path | None) -> SourceText:
    """Decode the content of a file.

    Args:
        raw: the content.
        name: the name of the file in messages.
        path: the path, if it is a file.

    Raises:
        InvalidSpec: too long or not UTF-8.
    """
    if len(raw) > MAX_BYTES:
        raise InvalidSpec([Diagnostic(f"{name} is larger than {MAX_BYTES // 1024} KiB and cannot be a spec")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        like = " (it looks like UTF-16)" if raw[:2] in _UTF16 else ""
        message = f"not UTF-8{like}: byte 0x{raw[error.start]:02x}"
        place = _place_in(raw, error.start, name, path)
        raise InvalidSpec([Diagnostic(message, place, hint="save the file as UTF-8")]) from error
    return SourceText(name, text, path)


def _place_in(raw: bytes, position: int, name: str, path: Path | None) -> Place:
    """Return the place of a byte in a text that is not UTF-8; the bytes that are not are replaced in its excerpt."""
    before = raw[:position].decode("utf-8-sig", "replace")
    source = SourceText(name, raw.decode("utf-8-sig", "replace"), path)
    length = 0 if raw[:2] in _UTF16 else 1  # no excerpt of a text that is unreadable
    return Place(source, before.count("\n") + 1, len(before) - before.rfind("\n"), length)


def read_node(source: SourceText, *, first_column: int = 1) -> Node | None:
    """Parse a whole text; `None` if it contains only comments.

    Args:
        source: the text.
        first_column: start here on the first line (for `--set path=value`).

    Raises:
        InvalidSpec: not YAML, or YAML that the spec language does not allow.
    """
    return _Reader(source, first_column).document()


class _Reader:
    """A single pass over the parser events of a text."""

    def __init__(self, source: SourceText, first_column: int) -> None:
        self._source = source
        self._offset = first_column - 1
        self._mistakes: list[Diagnostic] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._open_anchors: set[str] = set()
        self._nodes = 0

    def document(self) -> Node | None:
        text = self._source.text[self._offset :]
        try:
            node = self._documents(yaml.parse(text, Loader=yaml.SafeLoader))
        except yaml.YAMLError as error:
            message, hint, line, column = explain_yaml_error(error, text)
            self._mistakes.append(Diagnostic(message, self._at(line, column), hint=hint))
            node = None
        if self._mistakes:
            raise InvalidSpec(self._mistakes)
        return node

    def _documents(self, events: Iterator[Event]) -> Node | None:
        node: Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._mistake(event, "a second YAML document begins here; a file must contain one spec")
                    return node
            elif isinstance(event, NodeEvent):
                node = self._node(event, events, depth=0)
            elif isinstance(event, StreamEndEvent):
                break
        if isinstance(node, ScalarNode) and node.value is None and node.place.length <= 1:
            return None
        return node

    def _node(self, event: Event, events: Iterator[Event], depth: int) -> Node:
        assert isinstance(event, NodeEvent), "the parser nests its events properly"
        if isinstance(event, AliasEvent):
            return self._alias(event)
        self._count(event, 1)
        if depth > MAX_DEPTH:
            self._stop(event, f"nested deeper than {MAX_DEPTH} levels")
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            self._mistake(
                event,
                f"tags such as `{tag.replace('tag:yaml.org,2002:', '!!')}` are not part of the spec language",
                hint="remove the tag",
            )
        before, anchor = self._nodes, event.anchor
        if anchor:
            self._open_anchors.add(anchor)
        match event:
            case ScalarEvent():
                node: Node = self._scalar(event)
            case SequenceStartEvent():
                node = self._list(event, events, depth)
            case _:
                node = self._mapping(event, events, depth)
        if anchor:
            self._open_anchors.discard(anchor)
            self._anchors[anchor] = (node, self._nodes - before + 1)
        return node

    def _alias(self, event: AliasEvent) -> Node:
        if event.anchor in self._open_anchors:
            self._stop(event, f"`*{event.anchor}` refers to a value that contains it")
        if event.anchor not in self._anchors:
            self._mistake(event, f"`*{event.anchor}` has no earlier anchor `&{event.anchor}`")
            return ScalarNode(None, self._place(event))
        node, size = self._anchors[event.anchor]
        self._count(event, size)
        return node

    def _scalar(self, event: ScalarEvent) -> ScalarNode:
        place = self._place(event)
        if event.style is not None:
            return ScalarNode(self._whole_characters(event), place, plain=False)
        value, wrong = plain_value(event.value)
        if wrong is not None:
            self._mistake(event, wrong)
        return ScalarNode(value, place)

    def _whole_characters(self, event: ScalarEvent) -> str:
        """Return the text with surrogate pairs (`"\\ud83d\\ude00"`, as in JSON) joined into one character."""
        try:
            return str(event.value).encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._mistake(event, "the escape is half of a surrogate pair")
            return ""

    def _list(self, event: Event, events: Iterator[Event], depth: int) -> ListNode:
        items = []
        for inner in events:
            if isinstance(inner, SequenceEndEvent):
                break
            items.append(self._node(inner, events, depth + 1))
        return ListNode(tuple(items), self._place(event))

    def _mapping(self, event: Event, events: Iterator[Event], depth: int) -> MapNode:
        entries: dict[str, MapEntry] = {}
        for inner in events:
            if isinstance(inner, MappingEndEvent):
                break
            key = self._node(inner, events, depth + 1)
            value = self._node(next(events), events, depth + 1)
            if not isinstance(key, ScalarNode):
                self._mistakes.append(Diagnostic("a key must be a name", key.place))
                continue
            name = key.value if isinstance(key.value, str) else str(getattr(inner, "value", key.value))
            if name == "<<" and key.plain:
                hint = "name the other file in `extends`, or repeat the values"
                self._mistakes.append(Diagnostic("`<<` (merge key) is not supported in YAML 1.2", key.place, hint=hint))
            elif name in entries:
                first = entries[name].key.line
                where = f"first on line {first}" if first != key.place.line else "first on the same line"
                message = f"`{name}` is set twice, {where}"
                self._mistakes.append(Diagnostic(message, key.place, hint="remove one of the two"))
            else:
                entries[name] = MapEntry(key.place, value)
        return MapNode(entries, self._place(event))

    def _count(self, event: Event, size: int) -> None:
        self._nodes += size
        if self._nodes > MAX_NODES:
            self._stop(event, f"more than {MAX_NODES} values after expanding aliases; this cannot be a spec")

    def _mistake(self, event: Event, message: str, hint: str | None = None) -> None:
        self._mistakes.append(Diagnostic(message, self._place(event), hint=hint))

    def _stop(self, event: Event, message: str) -> None:
        self._mistake(event, message)
        raise InvalidSpec(self._mistakes)

    def _place(self, event: Event) -> Place:
        start, end = event.start_mark, event.end_mark
        assert start, "events of a text have marks"
        assert end, "events of a text have marks"
        one_line = start.line == end.line
        return self._at(start.line, start.column, end.column - start.column if one_line else None)

    def _at(self, line: int, column: int, length: int | None = 1) -> Place:
        """Convert a PyYAML mark, which counts from 0 and from `first_column`, to a place."""
        column += self._offset if line == 0 else 0
        if length is None:
            length = len(self._source.lines[line].split(" #")[0].rstrip()) - column
        return Place(self._source, line + 1, column + 1, max(1, length))
