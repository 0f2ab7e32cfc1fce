"""Kinds of sections before validation: the kind that a node names, and changes of kind."""

from __future__ import annotations

from cbalign.experiment.document import MapNode, ScalarNode
from cbalign.experiment.shapes import Choice


def variant_of(node: MapNode, choice: Choice) -> str | None:
    """Return the kind that a section names, if any."""
    named = node.get(choice.discriminator) if choice.discriminator else None
    return named.value if isinstance(named, ScalarNode) and isinstance(named.value, str) else None


def variant_changes(base: MapNode, overlay: MapNode, choice: Choice) -> bool:
    """Whether `overlay` changes the kind of `base`."""
    new, old = variant_of(overlay, choice), variant_of(base, choice) or choice.default
    return len(choice.variants) > 1 and None not in (new, old) and new != old


def written_by_options(node: MapNode) -> MapNode:
    """Return the settings of a section that options set; they survive a change of kind, in any order of options."""
    kept = {name: entry for name, entry in node.entries.items() if entry.key.source.kind == "option"}
    return MapNode(kept, node.place)
