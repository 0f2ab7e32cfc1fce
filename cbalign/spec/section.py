"""The base of every spec section, and what each field declares about itself."""

from __future__ import annotations

from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticUndefined


class Effect(str, Enum):
    """What changing a value does to an experiment, worst first."""

    ARCHITECTURE = "architecture"  # other tensors: weights no longer fit
    INITIALISATION = "initialisation"  # same tensors, other starting values
    DATA = "data"  # other samples or another order
    TRAINING = "training"  # another optimisation path
    EVALUATION = "evaluation"  # same model, other numbers
    EXPORT = "export"  # same model, another bundle
    RUNTIME = "runtime"  # same numbers up to rounding, other speed or memory
    LABEL = "label"  # names and notes


class Section(BaseModel):
    """A part of a spec: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=False)


def setting(
    default: Any = PydanticUndefined,
    *,
    effect: Effect,
    help: str,
    paper: str | None = None,
    **constraints: Any,
) -> Any:
    """A field of a section.

    Args:
        default: the value when a spec is silent; left out, the field is required.
        effect: what changing it does.
        help: one sentence for `explain`, the JSON Schema and error messages.
        paper: the published value and its source, where there is one.
        constraints: pydantic's `ge`, `gt`, `le`, `lt`, `min_length`, `discriminator`, …
    """
    extra: dict[str, Any] = {"effect": effect.value}
    if paper is not None:
        extra["paper"] = paper
    if isinstance(default, (Section, list, dict)):
        raise TypeError("pass default_factory for a default that is an object")
    return Field(default, description=help, json_schema_extra=extra, **constraints)


def subsection(factory: Any, *, help: str, effect: Effect | None = None) -> Any:
    """A nested section that defaults to `factory()`; its leaves declare their own effects."""
    extra = {"effect": effect.value} if effect else None
    return Field(default_factory=factory, description=help, json_schema_extra=extra)
