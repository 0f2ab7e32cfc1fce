"""Expand `schedule: constant`: a plain text instead of a section with a kind is that kind with its defaults."""

from __future__ import annotations

from cbalign.experiment.document import Entry, ListNode, MapNode, Node, ScalarNode
from cbalign.experiment.fields import Choice, Items, Setting, Shape, settings
from cbalign.experiment.variants import variant_of


def expand_section(node: MapNode, choice: Choice) -> MapNode:
    """A section with every such text inside it expanded; both the kind and the section keep the text's place."""
    known = _settings(node, choice)
    entries = {
        name: Entry(entry.key, expand(entry.value, known[name].shape)) if name in known else entry
        for name, entry in node.entries.items()
    }
    return MapNode(entries, node.place)


def expand(node: Node, shape: Shape | None) -> Node:
    """A value with every such text expanded; itself where there is none.

    Args:
        node: the value.
        shape: what the language expects there.
    """
    if isinstance(shape, Items) and isinstance(node, ListNode):
        return ListNode(tuple(expand(item, shape.item) for item in node.items), node.place)
    if not isinstance(shape, Choice):
        return node
    if isinstance(node, MapNode):
        return expand_section(node, shape)
    if shape.discriminator and isinstance(node, ScalarNode) and isinstance(node.value, str):
        return MapNode({shape.discriminator: Entry(node.place, node)}, node.place)
    return node


def _settings(node: MapNode, choice: Choice) -> dict[str, Setting]:
    """The settings that names in a section mean: of the kind that it says, else of whichever kind has them."""
    section = choice.variants.get(variant_of(node, choice) or "")
    if section is not None:
        return settings(section)
    found: dict[str, Setting] = {}
    for each in choice.variants.values():
        found = {**settings(each), **found}
    return found
