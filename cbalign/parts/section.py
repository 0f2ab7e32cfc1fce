"""The base class of spec sections, and the declaration of settings."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticUndefined


class Effect(StrEnum):
    """The effect of changing a setting on an experiment, worst first."""

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
        """The rank of the effect; 0 is the worst."""
        return list(Effect).index(self)

    @property
    def meaning(self) -> str:
        """The effect in a few words."""
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
    """A section of a spec: frozen, without unknown keys or implicit conversions.

    `identity` names the fields that identify an item in a list of such sections.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    identity: ClassVar[tuple[str, ...]] = ()


class RuleError(ValueError):
    """Two settings contradict each other.

    Args:
        message: the rule with its arithmetic.
        at: dotted paths, relative to the section that raises, most specific first; the message points at the first
            that the user wrote.
    """

    def __init__(self, message: str, *, at: tuple[str, ...]) -> None:
        super().__init__(message)
        self.at = at


PathKind = Literal["file", "folder", "file or folder", "shards", "maybe"]


def setting(
    default: Any = PydanticUndefined,
    *,
    effect: Effect | None = None,
    help: str = "",
    paper: str | None = None,
    path: PathKind | None = None,
    switch: Effect | None = None,
    since: str | None = None,
    before: Any = None,
    unordered: bool = False,
    **constraints: Any,
) -> Any:
    """Declare a setting of a section.

    Every setting needs `effect` and `help`. They are checked when specs are read, not here, so that a setting without
    one makes its own section unusable, not the whole module.

    Args:
        default: the default value; without it, the setting is required.
        effect: the effect of changing it. On a nested section it overrides the effects declared inside.
        help: one sentence for `explain`, the JSON Schema and error messages.
        paper: the published value and its source, if any.
        path: the text is a file or folder relative to the spec that sets it; `shards`: a pattern of files; `maybe`:
            a path if it exists, else another kind of name.
        switch: the effect of changing it to or from 0, if it differs.
        since: version that added the setting to an existing section; at its default it does not count in fingerprints,
            so that those of earlier versions stay.
        before: the value that experiments had before the setting existed, if it is not the default. Resolved specs
            without the setting get it, and it does not count in fingerprints instead of the default.
        unordered: the order of a list has no meaning; lists of equal items are no difference.
        constraints: pydantic's `ge`, `gt`, `le`, `lt`, `min_length`, `discriminator`, …
    """
    extra: dict[str, Any] = {} if effect is None else {"effect": effect.value}
    if paper is not None:
        extra["paper"] = paper
    if path is not None:
        extra["path"] = path
    if switch is not None:
        extra["switch"] = switch.value
    if since is not None:
        extra["since"] = since
    if before is not None:
        extra["before"] = before
    if unordered:
        extra["unordered"] = True
    if isinstance(default, (Section, list, dict)):
        form = "subsection(YourSection, help=…)" if isinstance(default, Section) else "a tuple"
        raise TypeError(f"the default of the setting {help!r} is a {type(default).__name__}; write {form}")
    return Field(default, description=help, json_schema_extra=extra, **constraints)


def subsection(
    factory: Any = None,
    *,
    help: str,
    effect: Effect | None = None,
    since: str | None = None,
    before: Mapping[str, Any] | None = None,
    **constraints: Any,
) -> Any:
    """Declare a nested section, whose settings declare their own effects; required unless `factory` makes a default.

    `since` and `before` are those of `setting`; `before` is the section as plain data.
    """
    declared = {"effect": effect.value if effect else None, "since": since, "before": before}
    extra: Any = {key: value for key, value in declared.items() if value is not None} or None
    if factory is None:
        return Field(description=help, json_schema_extra=extra, **constraints)
    return Field(default_factory=factory, description=help, json_schema_extra=extra, **constraints)


def part_setting(*, help: str) -> Any:
    """Declare the section of an optional part: None, and omitted from output, unless a spec names it."""
    return Field(default=None, description=help, json_schema_extra={"absent": True})
