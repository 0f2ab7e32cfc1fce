"""Normalise untyped specs: fill in default kinds and what older versions left out, and resolve paths.

Paths are relative to the file that contains them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cbalign.experiment.diagnostics import Diagnostic
from cbalign.experiment.document import DEFAULT, ListNode, MapEntry, MapNode, Node, Place, ScalarNode, made_node
from cbalign.experiment.encoding import UNDECODABLE_HINT, is_undecodable, printable
from cbalign.experiment.fields import Setting, settings
from cbalign.experiment.recipes import expand_home
from cbalign.experiment.shapes import Choice, Items, Leaf, Shape
from cbalign.experiment.shard_names import expand_shards
from cbalign.experiment.suggestions import did_you_mean
from cbalign.experiment.variants import variant_of
from cbalign.parts.section import PathKind

_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class NamedPath:
    """A resolved setting that names a file or folder."""

    path: str
    kind: PathKind
    node: ScalarNode
    written: str


def normalise(tree: MapNode, root: Choice) -> tuple[MapNode, list[NamedPath]]:
    """Fill in kinds and make paths absolute; return the tree and its paths."""
    paths: list[NamedPath] = []
    normal = _section(tree, root, "", paths)
    return normal, paths


def unusable_paths(paths: list[NamedPath]) -> Iterator[Diagnostic]:
    """Yield a diagnostic for each of `paths` that no file can have, or that a spec cannot hold."""
    for named in paths:
        place = None if named.node.place is DEFAULT else named.node.place
        if not named.written:
            yield Diagnostic(f"`{named.path}` names no {named.kind}: it is empty", place, named.path)
        elif "\0" in named.written:
            yield Diagnostic(f"`{named.path}` contains the character U+0000, which no path can have", place, named.path)
        elif is_undecodable(value := str(named.node.value)):
            message = f"the path {printable(value)} is not UTF-8"
            yield Diagnostic(message, place, named.path, hint=UNDECODABLE_HINT)


def missing_files(paths: list[NamedPath]) -> Iterator[Diagnostic]:
    """Yield a diagnostic for each of `paths` that does not exist."""
    for named in paths:
        target = Path(str(named.node.value))
        place = None if named.node.place is DEFAULT else named.node.place
        if not named.written or "\0" in named.written:  # unusable
            continue
        if named.kind == "shards":
            yield from _missing_shards(named, place)
        elif named.kind == "folder":
            if not target.is_dir():
                yield Diagnostic(f"no folder {named.written}", place, named.path, hint=_looked_for(target))
        elif not target.exists():
            what = "file or folder" if named.kind == "file or folder" else "file"
            yield Diagnostic(f"no {what} {named.written}", place, named.path, hint=_looked_for(target))
        elif named.kind == "file" and target.is_dir():
            yield Diagnostic(f"{named.written} is a folder, not a file", place, named.path)


def _missing_shards(named: NamedPath, place: Place | None) -> Iterator[Diagnostic]:
    try:
        shards = expand_shards(str(named.node.value))
    except ValueError as error:
        yield Diagnostic(str(error).replace(str(named.node.value), named.written), place, named.path)
        return
    missing = [shard for shard in shards if not Path(shard).is_file()]
    if len(shards) == 1 and missing:
        yield Diagnostic(f"no file {named.written}", place, named.path, hint=_looked_for(Path(missing[0])))
    elif missing:
        message = f"{named.written}: {len(missing)} of {len(shards)} shards are missing"
        yield Diagnostic(message, place, named.path, hint=f"the first is {missing[0]}")


def _looked_for(target: Path) -> str:
    looked = f"looked for {target}"
    try:
        siblings = [path.name for path in target.parent.iterdir()] if target.parent.is_dir() else []
    except OSError:
        siblings = []
    near = did_you_mean(target.name, siblings)
    return f"{looked}; {near}" if near else looked


def _section(node: MapNode, choice: Choice, path: str, paths: list[NamedPath]) -> MapNode:
    entries = dict(node.entries)
    key = choice.discriminator
    if key and key not in entries and choice.default and len(choice.variants) > 1:
        entries = {key: MapEntry(DEFAULT, ScalarNode(choice.default, DEFAULT)), **entries}
    section = choice.section(variant_of(MapNode(entries, node.place), choice))
    known = settings(section) if section else {}
    if _is_resolved(entries, known):
        entries |= {name: MapEntry(DEFAULT, made_node(setting.before)) for name, setting in _unknown(entries, known)}
    for name, setting in known.items():
        below = f"{path}{name}"
        if name in entries:
            entry = entries[name]
            entries[name] = MapEntry(entry.key, _value(entry.value, setting.shape, setting, below, paths))
        elif setting.path_kind == "folder" and isinstance(setting.default, str):
            folder = os.path.realpath(node.place.source.folder / setting.default)
            entries[name] = MapEntry(DEFAULT, ScalarNode(folder, DEFAULT))
    return replace(node, entries=entries)


def _is_resolved(entries: Mapping[str, MapEntry], known: Mapping[str, Setting]) -> bool:
    """Whether a section states every setting that it always had, as those that cbalign writes do."""
    return all(name in entries for name, each in known.items() if not each.later and not each.absent)


def _unknown(entries: Mapping[str, MapEntry], known: Mapping[str, Setting]) -> list[tuple[str, Setting]]:
    """Return the settings that are missing because the version of cbalign that wrote the section did not have them."""
    return [(name, each) for name, each in known.items() if name not in entries and each.before is not None]


def _value(node: Node, shape: Shape, setting: Setting, path: str, paths: list[NamedPath]) -> Node:
    if isinstance(shape, Choice) and isinstance(node, MapNode):
        return _section(node, shape, f"{path}.", paths)
    if isinstance(node, ListNode):
        inner = shape.item if isinstance(shape, Items | Leaf) else None
        if inner is None:
            return node
        items = (_value(item, inner, setting, f"{path}.{i}", paths) for i, item in enumerate(node.items))
        return replace(node, items=tuple(items))
    if isinstance(node, ScalarNode) and setting.path_kind and isinstance(shape, Leaf):
        return _absolute(node, setting.path_kind, path, paths)
    return node


def _absolute(node: ScalarNode, kind: PathKind, path: str, paths: list[NamedPath]) -> ScalarNode:
    text = node.value
    if not isinstance(text, str) or (not text and kind == "maybe"):
        return node
    if not text or "\0" in text:
        paths.append(NamedPath(path, kind, node, text))
        return node
    target = node.place.source.folder / expand_home(text)
    if kind == "maybe":
        says_path = text.startswith(("./", "../", "/", "~")) or text.endswith(_WEIGHTS)
        if not says_path and not ("/" in text and target.exists()):
            return node
    resolved = replace(node, value=os.path.realpath(target))
    paths.append(NamedPath(path, kind, resolved, text))
    return resolved
