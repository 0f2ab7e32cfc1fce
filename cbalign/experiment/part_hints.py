"""Explain a name in a spec that is not an installed part: of which kind it would be, and why it is missing."""

from __future__ import annotations

from cbalign.experiment.document import Node, ScalarNode, child
from cbalign.experiment.fields import Choice, Leaf, settings
from cbalign.experiment.unions import unusable_part, usable
from cbalign.parts.part import Part
from cbalign.parts.registry import KINDS, Kind
from cbalign.parts.section import Section

Steps = tuple[str | int, ...]


def part_hint(kind: Kind | None, name: str, hint: str | None) -> str | None:
    """What to do about a name that is no part of a kind.

    Args:
        kind: the kind; None if the name is not that of a part.
        name: as the spec has it.
        hint: what else is known.
    """
    if kind is None or not name:
        return hint
    if (part := unusable_part(kind, name)) is not None:
        return f"{part.origin} has it, but it is not used: {part.reason}"
    if hint is None:
        return f"`cbalign ls --parts` lists the installed {kind.plural}"
    return f"{hint}; `cbalign ls --parts` lists the installed {kind.plural}" if hint.startswith("it has ") else hint


def kind_of_choice(choice: Choice | None) -> Kind | None:
    """The kind of the parts that a setting is one of."""
    sections = tuple(choice.variants.values()) if choice else ()
    return next((kind for kind in KINDS if kind.key and any(issubclass(s, kind.base) for s in sections)), None)


def kind_of_key(owner: type[Section] | None, steps: Steps) -> Kind | None:
    """The kind of parts that a setting names, where only one part of the kind is installed."""
    if owner is None:
        return None
    return next((kind for kind in KINDS if kind.key and issubclass(owner, kind.base) and steps[-1] == kind.key), None)


def kind_of_other_part(owner: type[Section] | None, written: Node | None) -> Kind | None:
    """The kind of the part that a section is read as, although the spec names another part, which is not installed."""
    if owner is None or not issubclass(owner, Part):
        return None
    kind = next((kind for kind in KINDS if kind.key and issubclass(owner, kind.base)), None)
    named = child(written, kind.key) if kind is not None and written is not None else None
    return kind if isinstance(named, ScalarNode) and named.value != owner.part_name() else None


def kind_of_keys(owner: type[Section] | None) -> Kind | None:
    """The kind of the parts that are the settings of a section, by their names."""
    if owner is None:
        return None
    shapes = [setting.shape for setting in settings(owner).values()]
    sections = [section for shape in shapes if isinstance(shape, Choice) for section in shape.variants.values()]
    return next((kind for kind in KINDS if not kind.key and any(issubclass(s, kind.base) for s in sections)), None)


def kind_of_choices(leaf: Leaf) -> Kind | None:
    """The kind of the parts whose names a value is one of."""
    keyless = (kind for kind in KINDS if not kind.key)
    return next((kind for kind in keyless if leaf.choices and set(leaf.choices) == set(usable(kind))), None)
