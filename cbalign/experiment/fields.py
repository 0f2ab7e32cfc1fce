"""The schema of the spec language as a tree of shapes, derived from the pydantic sections.

Composition, messages, `explain` and `diff` use it instead of interpreting annotations themselves.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cbalign.parts.section import Effect, PathKind, Section


@dataclass(frozen=True)
class Leaf:
    """The shape of a value without settings inside: a number, a text, a choice, or a list of them."""

    kinds: tuple[str, ...] = ()  # "text", "whole number", "number", "true or false"
    choices: tuple[str | int, ...] = ()
    item: Leaf | None = None  # of a list
    length: int | None = None  # of a list of fixed length
    optional: bool = False
    bounds: tuple[str, ...] = ()
    pattern: str | None = None
    examples: tuple[str, ...] = ()

    @property
    def takes_only_text(self) -> bool:
        """Whether every allowed value is a text (or null)."""
        texts = all(isinstance(choice, str) for choice in self.choices)
        return self.item is None and texts and all(kind == "text" for kind in self.kinds)

    def wording(self) -> str:
        """Describe the allowed values in words."""
        parts = []
        if self.item is not None:
            each = self.item.wording()
            parts.append(f"a list of {f'{self.length} ' if self.length else ''}{_plural(each)}")
        if self.choices:
            parts.insert(0, _listing([str(choice) for choice in self.choices]))
        if self.kinds:
            text = " or ".join(_ARTICLE[kind] for kind in self.kinds)
            parts.append(f"{text} {' and '.join(self.bounds)}" if self.bounds else text)
        if self.examples:
            parts[-1] += f" such as {_listing([f'`{example}`' for example in self.examples])}"
        if self.optional:
            parts.append("null")
        return _listing(parts)


_ARTICLE = {
    "text": "text",
    "whole number": "a whole number",
    "number": "a number",
    "true or false": "true or false",
}


def _plural(wording: str) -> str:
    for one, many in (("a whole number", "whole numbers"), ("a number", "numbers"), ("text", "texts")):
        if wording.startswith(one):
            return many + wording.removeprefix(one)
    return wording


def _listing(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


@dataclass(frozen=True)
class Choice:
    """The shape of a section, or of one of several sections that a key selects (`kind: cosine`)."""

    variants: dict[str, type[Section]]
    discriminator: str | None = None
    default: str | None = None  # the variant if the key is missing
    optional: bool = False

    def section(self, variant: str | None = None) -> type[Section] | None:
        """Return the section of that variant, of the only one, or of the default."""
        if len(self.variants) == 1:
            return next(iter(self.variants.values()))
        return self.variants.get(variant or self.default or "")


@dataclass(frozen=True)
class Items:
    """The shape of a list of sections."""

    item: Choice


Shape = Leaf | Choice | Items


@dataclass(frozen=True)
class Setting:
    """A field of a section with its declarations.

    `effect` is the field's own; nested sections may have none. `default` is plain data; `None`, with `required` set,
    if there is none.
    """

    name: str
    shape: Shape
    help: str
    effect: Effect | None
    paper: str | None
    path_kind: PathKind | None
    switch: Effect | None  # the effect of changing it to or from 0, if worse
    required: bool
    default: object
    later: bool = False  # added to an existing section: at its default it does not count in fingerprints
    absent: bool = False  # an optional part: absent from specs that do not name it

    @property
    def has_sections(self) -> bool:
        """Whether its value consists of sections."""
        return isinstance(self.shape, Choice | Items)


@cache
def settings(section: type[Section]) -> dict[str, Setting]:
    """Return the fields of a section by name."""
    return {name: _setting(name, info) for name, info in section.model_fields.items()}


def _setting(name: str, info: FieldInfo) -> Setting:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    effect, paper, path, switch = (extra.get(key) for key in ("effect", "paper", "path", "switch"))
    required = info.is_required()
    value = None if required else info.get_default(call_default_factory=True, validated_data={})
    default = value.model_dump(mode="json") if isinstance(value, BaseModel) else _plain(value)
    try:
        shape = _shape(info.annotation, info)
    except TypeError as error:
        raise TypeError(f"its setting `{name}`: {error}") from None
    if isinstance(shape, Choice) and isinstance(value, BaseModel):
        shape = replace(shape, default=next((n for n, s in shape.variants.items() if s is type(value)), None))
    return Setting(
        name=name,
        shape=shape,
        help=info.description or "",
        effect=Effect(effect) if isinstance(effect, str) else None,
        paper=paper if isinstance(paper, str) else None,
        path_kind=path if path in get_args(PathKind) else None,  # type: ignore[arg-type]
        switch=Effect(switch) if isinstance(switch, str) else None,
        required=required,
        default=default,
        later="since" in extra,
        absent=extra.get("absent") is True,
    )


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [item.model_dump(mode="json") if isinstance(item, BaseModel) else _plain(item) for item in value]
    return None if value is PydanticUndefined else value


def _shape(annotation: Any, info: FieldInfo | None) -> Shape:
    """Return the shape of an annotation; `info` has the constraints that pydantic extracted from it."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        declared = next((m for m in metadata if isinstance(m, FieldInfo)), None)
        return _shape(inner, declared or info)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        key = _discriminator(annotation)
        return Choice({_tag(annotation, key) if key else "": annotation}, key)
    if get_origin(annotation) is tuple:
        return _tuple(get_args(annotation), info)
    if get_origin(annotation) in (Union, types.UnionType):
        return _union(get_args(annotation), info)
    if get_origin(annotation) is Literal:
        return Leaf(choices=get_args(annotation))
    kind = {str: "text", int: "whole number", float: "number", bool: "true or false"}.get(annotation)
    if kind is None:
        raise TypeError(f"the spec language has no setting of type {annotation!r}")
    return _constrained(Leaf(kinds=(kind,)), info)


def _tuple(arguments: tuple[Any, ...], info: FieldInfo | None) -> Shape:
    item = _shape(arguments[0], None)
    if isinstance(item, Choice):
        return Items(item)
    if isinstance(item, Items):
        raise TypeError("the spec language has no lists of lists of sections")
    return Leaf(item=item, length=None if arguments[-1] is Ellipsis else len(arguments))


def _union(members: tuple[Any, ...], info: FieldInfo | None) -> Shape:
    optional = type(None) in members
    rest = [member for member in members if member is not type(None)]
    if len(rest) == 1:
        shape = _shape(rest[0], info)
        return shape if isinstance(shape, Items) else replace(shape, optional=optional)
    shapes = [_shape(member, None) for member in rest]
    sections = [shape for shape in shapes if isinstance(shape, Choice)]
    if sections:
        variants = {name: section for shape in sections for name, section in shape.variants.items()}
        return Choice(variants, sections[0].discriminator, _unspoken(variants), optional=optional)
    leaves = [shape for shape in shapes if isinstance(shape, Leaf)]
    merged = Leaf(
        kinds=tuple(kind for leaf in leaves for kind in leaf.kinds),
        choices=tuple(choice for leaf in leaves for choice in leaf.choices),
        item=next((leaf.item for leaf in leaves if leaf.item), None),
        optional=optional,
    )
    return _constrained(merged, info)


def _unspoken(variants: dict[str, type[Section]]) -> str | None:
    """Return the default variant, by convention the one whose first field has a default."""
    firsts = ((name, next(iter(section.model_fields.values()))) for name, section in variants.items())
    return next((name for name, info in firsts if not info.is_required()), None)


def _constrained(leaf: Leaf, info: FieldInfo | None) -> Leaf:
    if info is None:
        return leaf
    low = next((c for c in info.metadata if isinstance(c, Ge | Gt)), None)
    high = next((c for c in info.metadata if isinstance(c, Le | Lt)), None)
    if isinstance(low, Ge) and isinstance(high, Le):
        bounds = [f"from {low.ge} to {high.le}"]
    else:
        bounds = [f"of at least {low.ge}" if isinstance(low, Ge) else f"above {low.gt}"] if low else []
        bounds += [f"of at most {high.le}" if isinstance(high, Le) else f"below {high.lt}"] if high else []
    pattern = next((c.pattern for c in info.metadata if hasattr(c, "pattern")), None)
    return replace(leaf, bounds=tuple(bounds), pattern=pattern, examples=tuple(map(str, info.examples or ())))


def _discriminator(section: type[Section]) -> str | None:
    """Return the key whose single choice names the section, by convention the first field."""
    name, info = next(iter(section.model_fields.items()))
    choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
    return name if len(choices) == 1 and isinstance(choices[0], str) else None


def _tag(section: type[Section], key: str) -> str:
    return str(get_args(section.model_fields[key].annotation)[0])


@dataclass(frozen=True)
class FoundSetting:
    """A setting at a dotted path, its section, and the variant of the section (`cosine`) if there are several."""

    path: str
    setting: Setting
    owner: type[Section]
    variant: str | None
    effect: Effect | None


def find_settings(root: type[Section], path: str) -> list[FoundSetting]:
    """Find the settings at `path`: several if variants of a section share a name, none if unknown.

    List positions may be omitted or written as numbers: `evaluate.top_k`, `evaluate.0.top_k`.
    """
    wanted = [step for step in path.split(".") if not step.isdecimal()]
    return [found for found in every(root) if [s for s in found.path.split(".") if s != "[]"] == wanted]


def every(root: type[Section], prefix: str = "", effect: Effect | None = None) -> Iterator[FoundSetting]:
    """Yield all settings below a section, including sections and their variants; `[]` marks a list position."""
    yield from _below(Choice({"": root}), prefix, effect)


def _below(choice: Choice, prefix: str, effect: Effect | None) -> Iterator[FoundSetting]:
    for variant, section in choice.variants.items():
        for name, setting in settings(section).items():
            path = f"{prefix}{name}"
            own = effect or setting.effect
            yield FoundSetting(path, setting, section, variant if len(choice.variants) > 1 else None, own)
            match setting.shape:
                case Choice():
                    yield from _below(setting.shape, f"{path}.", effect or setting.effect)
                case Items():
                    yield from _below(setting.shape.item, f"{path}.[].", effect)


def leaves(
    section: Section, prefix: str = "", effect: Effect | None = None, *, later: bool = True
) -> Iterator[tuple[str, object, Effect]]:
    """Yield every value of a validated section with its dotted path and effect class, in schema order.

    Without `later`, settings that a newer version added are left out where they have their defaults.
    """
    for name, setting in settings(type(section)).items():
        value = getattr(section, name)
        path = f"{prefix}{name}"
        own = effect or setting.effect
        if (setting.absent and value is None) or (setting.later and not later and value == setting.default):
            continue
        if isinstance(value, Section):
            yield from leaves(value, f"{path}.", own, later=later)
        elif isinstance(setting.shape, Items):
            for index, item in enumerate(value):
                yield from leaves(item, f"{path}.{index}.", effect, later=later)
        else:
            if own is None:
                raise TypeError(f"{path} declares no effect class")
            yield path, value, own
