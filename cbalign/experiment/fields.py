"""The settings of the spec language with their declarations, derived from the pydantic sections.

Composition, messages, `explain` and `diff` use them instead of interpreting annotations themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cbalign.experiment.shapes import Choice, Items, Shape, shape_of
from cbalign.parts.section import Effect, PathKind, Section


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
    before: object = None  # plain data: the value before it was added, if that is not the default
    unordered: bool = False  # a list whose order has no meaning
    absent: bool = False  # an optional part: absent from specs that do not name it

    def is_past(self, value: object) -> bool:
        """Whether the setting is newer than its section, and this the value that experiments had without it."""
        plain = value.model_dump(mode="json") if isinstance(value, Section) else value
        return self.later and plain == (self.default if self.before is None else self.before)

    def same(self, value: object, other: object) -> bool:
        """Whether two values of the setting mean the same."""
        if self.unordered and isinstance(value, list | tuple) and isinstance(other, list | tuple):
            return sorted(value, key=repr) == sorted(other, key=repr)
        return value == other

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
        shape = shape_of(info.annotation, info)
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
        before=extra.get("before"),
        unordered=extra.get("unordered") is True,
        absent=extra.get("absent") is True,
    )


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [item.model_dump(mode="json") if isinstance(item, BaseModel) else _plain(item) for item in value]
    return None if value is PydanticUndefined else value


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


def _is_default(value: object, setting: Setting) -> bool:
    return (value.model_dump(mode="json") if isinstance(value, BaseModel) else value) == setting.default


def leaves(
    section: Section, prefix: str = "", effect: Effect | None = None, *, later: bool = True
) -> Iterator[tuple[str, object, Effect]]:
    """Yield every value of a validated section with its dotted path and effect class, in schema order.

    Without `later`, settings that a newer version added are left out where they change nothing.
    """
    for name, setting in settings(type(section)).items():
        value = getattr(section, name)
        path = f"{prefix}{name}"
        own = effect or setting.effect
        if (setting.absent and value is None) or (not later and setting.is_past(value)):
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
