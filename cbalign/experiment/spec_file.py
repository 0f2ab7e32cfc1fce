"""Read one spec file, without its bases."""

from __future__ import annotations

from pathlib import Path

from cbalign.experiment.diagnostics import Diagnostic, InvalidSpec
from cbalign.experiment.document import ListNode, MapEntry, MapNode
from cbalign.experiment.files import Files
from cbalign.experiment.reader import read_node
from cbalign.experiment.shapes import Choice
from cbalign.experiment.shorthand import expand_section, expand_shorthand

EXTENDS, EXPECTS, PROFILES = "extends", "expects", "profiles"
_EMPTY_HINT = "start from a recipe: cbalign cp quickstart my.yaml"


def read_spec(path: Path, files: Files, root: Choice) -> MapNode:
    """Read a spec file and expand shorthand.

    Args:
        path: the file; `-` is standard input.
        files: the file system to read from.
        root: the shape of a whole spec.

    Raises:
        InvalidSpec: the file is missing or not a YAML mapping.
    """
    source = files.read(path)
    node = read_node(source)
    if node is None:
        raise InvalidSpec([Diagnostic(f"{source.name} is empty", hint=_EMPTY_HINT)])
    if not isinstance(node, MapNode):
        what = "a list" if isinstance(node, ListNode) else "a single value"
        raise InvalidSpec([Diagnostic(f"a spec must consist of `name: value` entries, not {what}", node.place)])
    return _expanded(node, root)


def _expanded(node: MapNode, root: Choice) -> MapNode:
    """Expand the shorthand in a file, including its `expects` and `profiles`."""
    entries = dict(expand_section(node, root).entries)
    if isinstance(expects := node.get(EXPECTS), MapNode):
        entries[EXPECTS] = MapEntry(node.entries[EXPECTS].key, expand_section(expects, root))
    if isinstance(profiles := node.get(PROFILES), MapNode):
        overlays = {
            name: MapEntry(each.key, expand_shorthand(each.value, root)) for name, each in profiles.entries.items()
        }
        entries[PROFILES] = MapEntry(node.entries[PROFILES].key, MapNode(overlays, profiles.place))
    return MapNode(entries, node.place)
