"""What an error in a spec is about: the setting at a path, its node in the tree and its place in the source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cbalign.experiment.document import DEFAULT, MapNode, Node, Place, ScalarNode, child
from cbalign.experiment.fields import Setting, settings
from cbalign.experiment.part_hints import Steps
from cbalign.experiment.shapes import Choice, Items, Leaf
from cbalign.experiment.variants import variant_of
from cbalign.parts.section import Section


@dataclass(frozen=True)
class ErrorTarget:
    """What an error refers to: its path without pydantic's labels, and its schema."""

    steps: Steps
    setting: Setting | None
    leaf: Leaf | None
    choice: Choice | None
    owner: type[Section] | None

    @property
    def path(self) -> str:
        """The dotted path."""
        return ".".join(map(str, self.steps))


def error_target(loc: Steps, root: Choice) -> ErrorTarget:
    """Find what the location of an error refers to.

    Args:
        loc: the location, with pydantic's labels of the kinds of sections.
        root: the shape of a whole spec.
    """
    shape: Choice | Items | Leaf | None = root
    steps: list[str | int] = []
    setting: Setting | None = None
    owner: type[Section] | None = root.section()
    variant: str | None = None
    for step in loc:
        if isinstance(shape, Choice):
            if variant is None and len(shape.variants) > 1 and step in shape.variants:
                variant = str(step)
                continue
            owner = shape.section(variant)
            setting = settings(owner).get(str(step)) if owner else None
            shape, variant = setting.shape if setting else None, None
            steps.append(step)
        elif isinstance(shape, Items):
            steps.append(step)
            shape = shape.item
        elif isinstance(shape, Leaf):
            if isinstance(step, int):
                steps.append(step)
                shape = shape.item or shape
        else:
            steps.append(step)
    return ErrorTarget(
        steps=tuple(steps),
        setting=setting,
        leaf=shape if isinstance(shape, Leaf) else None,
        choice=shape if isinstance(shape, Choice) else None,
        owner=owner,
    )


def node_at(tree: Node, steps: Iterable[str | int]) -> Node | None:
    """Return the node at a path, or None."""
    node: Node | None = tree
    for step in steps:
        node = child(node, step) if node is not None else None
    return node


def setting_at(tree: Node, root: Choice, steps: Steps) -> Setting | None:
    """Return the setting at a path, of the kinds of sections that the tree names."""
    node: Node | None = tree
    choice: Choice | None = root
    setting: Setting | None = None
    for step in steps:
        if not str(step).isdecimal():
            variant = variant_of(node, choice) if isinstance(node, MapNode) and choice is not None else None
            section = choice.section(variant) if choice is not None else None
            setting = settings(section).get(str(step)) if section is not None else None
            shape = setting.shape if setting is not None else None
            choice = shape.item if isinstance(shape, Items) else shape if isinstance(shape, Choice) else None
        node = child(node, step) if node is not None else None
    return setting


def is_written(tree: Node, steps: Steps) -> bool:
    """Whether the spec contains a value at a path, rather than its default."""
    node = node_at(tree, steps)
    return node is not None and node.place is not DEFAULT


def place_of(tree: MapNode, steps: Steps, *, key: bool = False) -> Place | None:
    """Return the place of a path: its value if that is on one line, else its key, else the nearest parent's key.

    Args:
        key: prefer the key.
    """
    best: Place | None = Place(tree.place.source, 1, 1, 0)
    node: Node | None = tree
    for step in steps:
        entry = node.entries.get(str(step)) if isinstance(node, MapNode) else None
        node = child(node, step) if node is not None else None
        if node is None:
            break
        place = entry.key if entry and (key or not isinstance(node, ScalarNode)) else node.place
        if place is DEFAULT:
            continue
        if entry and isinstance(node, ScalarNode) and node.value is None:
            place = entry.key
        best = place
    return best
