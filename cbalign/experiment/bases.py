"""Merge the bases that a spec extends, of which none has precedence over another."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cbalign.experiment.diagnostics import Diagnostic
from cbalign.experiment.document import MapEntry, MapNode, Node, Place, child, plain_data, same
from cbalign.experiment.fields import settings
from cbalign.experiment.shapes import Choice
from cbalign.experiment.variants import variant_changes, variant_of

_SomeNode = TypeVar("_SomeNode", bound=Node)


@dataclass(frozen=True)
class Conflict:
    """A path that two bases set to different values."""

    path: tuple[str, ...]
    first: Node
    second: Node

    def is_settled_by(self, body: MapNode) -> bool:
        """Whether the spec that extends the bases sets the path, or a section above it to a value."""
        node: Node | None = body
        for step in self.path:
            if not isinstance(node, MapNode):
                return node is not None
            node = child(node, step)
        return node is not None

    def diagnostic(self, place: Place | None) -> Diagnostic:
        """Describe the conflict; `place` is where the spec names its bases."""
        path = ".".join(self.path)
        told = [f"{_short(each)} ({each.place.source.name}:{each.place.line})" for each in (self.first, self.second)]
        return Diagnostic(
            f"two bases set `{path}` differently: {told[0]} and {told[1]}",
            place,
            path,
            hint=f"set `{path}` in this file",
        )


def join_bases(
    first: MapNode,
    second: MapNode,
    files: tuple[tuple[Path, ...], tuple[Path, ...]],
    conflicts: list[Conflict],
    choice: Choice | None,
    path: tuple[str, ...] = (),
) -> MapNode:
    """Merge two bases. Neither has precedence, unless only one of them changed a value that both inherit.

    Args:
        first, second: the bases, or sections of them.
        files: the files that each of them consists of.
        conflicts: what the bases set differently is appended to it.
        choice: the shape of both, if known.
        path: the path of the sections.
    """
    if choice and variant_of(first, choice) and variant_changes(first, second, choice):
        return _either(first, second, files, conflicts, path)
    entries = dict(first.entries)
    section = choice.section(variant_of(second, choice) or variant_of(first, choice)) if choice else None
    for name, entry in second.entries.items():
        old = first.get(name)
        if old is None:
            entries[name] = entry
        elif isinstance(old, MapNode) and isinstance(entry.value, MapNode):
            shape = settings(section)[name].shape if section and name in settings(section) else None
            inner = shape if isinstance(shape, Choice) else None
            joined = join_bases(old, entry.value, files, conflicts, inner, (*path, name))
            entries[name] = MapEntry(entry.key, joined)
        elif not same(old, entry.value):
            entries[name] = MapEntry(entry.key, _either(old, entry.value, files, conflicts, (*path, name)))
    return MapNode(entries, second.place)


def _either(
    first: _SomeNode,
    second: _SomeNode,
    files: tuple[tuple[Path, ...], tuple[Path, ...]],
    conflicts: list[Conflict],
    path: tuple[str, ...],
) -> _SomeNode:
    if _comes_from(second, files[0]):
        return first
    if not _comes_from(first, files[1]) and path != ("name",) and path != ("description",):
        conflicts.append(Conflict(path, first, second))
    return second


def _comes_from(node: Node, files: tuple[Path, ...]) -> bool:
    return node.place.source.path is not None and node.place.source.path.resolve() in files


def _short(node: Node) -> str:
    text = json.dumps(plain_data(node), ensure_ascii=False)
    return text if len(text) <= 30 else f"{text[:29]}…"
