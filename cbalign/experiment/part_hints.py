"""Hints for names in a spec that are not installed parts."""

from __future__ import annotations

from cbalign.experiment.document import Node, ScalarNode, child
from cbalign.experiment.fields import settings
from cbalign.experiment.shapes import Choice, Leaf
from cbalign.experiment.unions import unusable_part, usable
from cbalign.parts.part import Part
from cbalign.parts.registry import KINDS, PartKind
from cbalign.parts.section import Section

Steps = tuple[str | int, ...]


def part_hint(kind: PartKind | None, name: str, hint: str | None) -> str | None:
    """Return a hint for a name that is not a part of a kind.

    Args:
        kind: the kind; None if the setting does not name a part.
        name: the name in the spec.
        hint: the hint to use or extend.
    """
    if kind is None or not name:
        return hint
    if (part := unusable_part(kind, name)) is not None:
        return f"{part.origin} provides it, but it is unusable: {part.reason}"
    if hint is None:
        return f"`cbalign ls --parts` lists the installed {kind.plural}"
    return f"{hint}; `cbalign ls --parts` lists the installed {kind.plural}" if hint.startswith("it has ") else hint


def kind_of_choice(choice: Choice | None) -> PartKind | None:
    """Return the kind of the parts that a setting selects from."""
    sections = tuple(choice.variants.values()) if choice else ()
    return next((kind for kind in KINDS if kind.key and any(issubclass(s, kind.base) for s in sections)), None)


def kind_of_key(owner: type[Section] | None, steps: Steps) -> PartKind | None:
    """Return the kind of parts that a setting names, if only one part of the kind is installed."""
    if owner is None:
        return None
    return next((kind for kind in KINDS if kind.key and issubclass(owner, kind.base) and steps[-1] == kind.key), None)


def kind_of_other_part(owner: type[Section] | None, written: Node | None) -> PartKind | None:
    """The kind of the part that a section is read as, although the spec names another part, which is not installed."""
    if owner is None or not issubclass(owner, Part):
        return None
    kind = next((kind for kind in KINDS if kind.key and issubclass(owner, kind.base)), None)
    named = child(written, kind.key) if kind is not None and written is not None else None
    return kind if isinstance(named, ScalarNode) and named.value != owner.part_name() else None


def kind_of_keys(owner: type[Section] | None) -> PartKind | None:
    """Return the kind of the parts whose names are the keys of a section."""
    if owner is None:
        return None
    shapes = [setting.shape for setting in settings(owner).values()]
    sections = [section for shape in shapes if isinstance(shape, Choice) for section in shape.variants.values()]
    return next((kind for kind in KINDS if not kind.key and any(issubclass(s, kind.base) for s in sections)), None)


def kind_of_choices(leaf: Leaf) -> PartKind | None:
    """Return the kind of the parts whose names are the choices of a value."""
    keyless = (kind for kind in KINDS if not kind.key)
    return next((kind for kind in keyless if leaf.choices and set(leaf.choices) == set(usable(kind))), None)
