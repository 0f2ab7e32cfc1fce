"""The base of every spec section, and what each field declares about itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticUndefined


class Effect(StrEnum):
    """What changing a value does to an experiment, worst first."""

    ARCHITECTURE = "architecture"  # other tensors: weights no longer fit
    INITIALISATION = "initialisation"  # same tensors, other starting values
    DATA = "data"  # other samples or another order
    TRAINING = "training"  # another optimisation path
    EVALUATION = "evaluation"  # same model, other numbers
    EXPORT = "export"  # same model, another bundle
    RUNTIME = "runtime"  # same numbers up to rounding, other speed or memory
    LABEL = "label"  # names and notes

    @property
    def severity(self) -> int:
        """0 for the worst."""
        return list(Effect).index(self)

    @property
    def meaning(self) -> str:
        """What a change of this class does, in a few words."""
        return _MEANING[self]


_MEANING = {
    Effect.ARCHITECTURE: "other tensors: weights no longer fit",
    Effect.INITIALISATION: "same tensors, other starting values",
    Effect.DATA: "other samples, or the same in another form or order",
    Effect.TRAINING: "another optimisation path",
    Effect.EVALUATION: "same model, other numbers",
    Effect.EXPORT: "same model, another bundle",
    Effect.RUNTIME: "same numbers up to rounding, other speed or memory",
    Effect.LABEL: "names and notes",
}


class Section(BaseModel):
    """A part of a spec: frozen, no unknown keys, no silent conversions.

    `identity` names the fields that tell one item of a list of such sections from another.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    identity: ClassVar[tuple[str, ...]] = ()


class RuleError(ValueError):
    """Two settings contradict each other.

    Args:
        message: the rule with its arithmetic.
        at: dotted paths, relative to the section that raises, most telling first; the message points at the first
            of them that the user wrote.
    """

    def __init__(self, message: str, *, at: tuple[str, ...]) -> None:
        super().__init__(message)
        self.at = at


PathKind = Literal["file", "folder", "file or folder", "shards", "maybe"]


def setting(
    default: Any = PydanticUndefined,
    *,
    effect: Effect,
    help: str,
    paper: str | None = None,
    path: PathKind | None = None,
    switch: Effect | None = None,
    **constraints: Any,
) -> Any:
    """A field of a section.

    Args:
        default: the value when a spec is silent; left out, the field is required.
        effect: what changing it does. On a nested section it holds for everything inside, whatever that declares.
        help: one sentence for `explain`, the JSON Schema and error messages.
        paper: the published value and its source, where there is one.
        path: the text names a file or folder relative to the spec that wrote it; `shards`: files, by a pattern;
            `maybe`: when there is one of that name, and else it is a name of another kind.
        switch: what going to or from 0 does, where that does more than another value.
        constraints: pydantic's `ge`, `gt`, `le`, `lt`, `min_length`, `discriminator`, …
    """
    extra: dict[str, Any] = {"effect": effect.value}
    if paper is not None:
        extra["paper"] = paper
    if path is not None:
        extra["path"] = path
    if switch is not None:
        extra["switch"] = switch.value
    if isinstance(default, (Section, list, dict)):
        raise TypeError("pass default_factory for a default that is an object")
    return Field(default, description=help, json_schema_extra=extra, **constraints)


def subsection(factory: Any = None, *, help: str, effect: Effect | None = None, **constraints: Any) -> Any:
    """A nested section whose leaves declare their own effects; required when there is no `factory` for its default."""
    extra: dict[str, Any] | None = {"effect": effect.value} if effect else None
    if factory is None:
        return Field(description=help, json_schema_extra=extra, **constraints)
    return Field(default_factory=factory, description=help, json_schema_extra=extra, **constraints)


def part_setting(*, help: str) -> Any:
    """A nested section of a part that most specs do not have: None, and left out of what is written, unless named."""
    return Field(default=None, description=help, json_schema_extra={"absent": True})
