"""Read the settings of an open_clip run: its `params.txt`, or its command line."""

from __future__ import annotations

import ast
import re
import shlex

from cbalign.experiment.document import ListNode, MapEntry, MapNode, Node, Place, ScalarNode, SourceText

_LINE = re.compile(r"(?P<name>[a-z][a-z0-9_]*): (?P<value>.*)\Z")


def read_params(source: SourceText) -> MapNode | None:
    """Parse the lines `name: value` of a params.txt; return None if the text is something else."""
    entries: dict[str, MapEntry] = {}
    for number, line in enumerate(source.lines, 1):
        if not line.strip():
            continue
        match = _LINE.match(line)
        if match is None:
            return None
        value = Place(source, number, match.start("value") + 1, max(1, len(match["value"])))
        entries[match["name"]] = MapEntry(Place(source, number, 1, len(match["name"])), _node(match["value"], value))
    known = {"lr", "wd", "warmup", "train_data", "model", "batch_size"}
    return MapNode(entries, Place(source, 1, 1, 0)) if len(known & entries.keys()) >= 4 else None


def read_flags(source: SourceText) -> MapNode | None:
    """Parse the flags of a command line of one or more lines; return None if the text is something else."""
    entries: dict[str, MapEntry] = {}
    name: str | None = None
    for number, line in enumerate(source.lines, 1):
        try:
            words = shlex.split(line.rstrip().removesuffix("\\"), comments=True)
        except ValueError:
            return None
        for word in words:
            place = Place(source, number, line.find(word) + 1 or 1, len(word))
            if word.startswith("--"):
                flag, equals, value = word[2:].partition("=")
                name = flag.replace("-", "_")
                entries[name] = MapEntry(place, _node(value, place) if equals else ScalarNode(True, place))
            elif name is not None:
                entries[name] = MapEntry(entries[name].key, _node(word, place))
                name = None
    known = {"lr", "wd", "warmup", "train_data", "model", "batch_size", "precision", "epochs"}
    return MapNode(entries, Place(source, 1, 1, 0)) if len(known & entries.keys()) >= 2 else None


def _node(text: str, place: Place) -> Node:
    """Parse a value that Python printed: a literal, or else a text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    return _tree(value, place)


def _tree(value: object, place: Place) -> Node:
    match value:
        case dict():
            entries = {str(name): MapEntry(place, _tree(inner, place)) for name, inner in value.items()}
            return MapNode(entries, place)
        case list() | tuple():
            return ListNode(tuple(_tree(item, place) for item in value), place)
        case str() | int() | float() | None:
            return ScalarNode(value, place)
        case _:
            return ScalarNode(str(value), place)
