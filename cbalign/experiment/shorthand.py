"""Expand shorthand such as `schedule: constant`, the name of a kind in place of its section."""

from __future__ import annotations

from cbalign.experiment.document import ListNode, MapEntry, MapNode, Node, ScalarNode
from cbalign.experiment.fields import Setting, settings
from cbalign.experiment.shapes import Choice, Items, Shape
from cbalign.experiment.variants import variant_of


def expand_section(node: MapNode, choice: Choice) -> MapNode:
    """Expand the shorthand in a section; the kind and the new section get the place of the text."""
    known = _settings(node, choice)
    entries = {
        name: MapEntry(entry.key, expand_shorthand(entry.value, known[name].shape)) if name in known else entry
        for name, entry in node.entries.items()
    }
    return MapNode(entries, node.place)


def expand_shorthand(node: Node, shape: Shape | None) -> Node:
    """Expand the shorthand in a value; return it unchanged if there is none.

    Args:
        node: the value.
        shape: the shape of the value in the schema.
    """
    if isinstance(shape, Items) and isinstance(node, ListNode):
        return ListNode(tuple(expand_shorthand(item, shape.item) for item in node.items), node.place)
    if not isinstance(shape, Choice):
        return node
    if isinstance(node, MapNode):
        return expand_section(node, shape)
    if shape.discriminator and isinstance(node, ScalarNode) and isinstance(node.value, str):
        return MapNode({shape.discriminator: MapEntry(node.place, node)}, node.place)
    return node


def _settings(node: MapNode, choice: Choice) -> dict[str, Setting]:
    """Return the settings of a section by name: those of its kind, if stated, else those of all kinds."""
    section = choice.variants.get(variant_of(node, choice) or "")
    if section is not None:
        return settings(section)
    found: dict[str, Setting] = {}
    for each in choice.variants.values():
        found = {**settings(each), **found}
    return found
