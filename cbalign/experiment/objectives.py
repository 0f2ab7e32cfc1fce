"""The `objectives` section: one setting per installed objective. Weight 0 disables an objective and its cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import SerializerFunctionWrapHandler, create_model, model_serializer, model_validator

from cbalign.experiment.unions import usable
from cbalign.parts import ObjectiveSection, RuleError, Section
from cbalign.parts.registry import OBJECTIVES
from cbalign.parts.section import part_setting, subsection


class Objectives(Section):
    """The loss terms. Terms that are off by default are None unless the spec names them."""

    def named(self) -> Iterator[tuple[str, ObjectiveSection]]:
        """Yield the objectives of the spec by name, whatever their weights."""
        for name in type(self).model_fields:
            section = getattr(self, name)
            if section is not None:
                yield name, section

    def active(self) -> dict[str, ObjectiveSection]:
        """Return the objectives with a weight above 0, by name."""
        return {name: section for name, section in self.named() if section.weight > 0}

    @model_validator(mode="after")
    def _each_step_has_a_loss(self) -> Objectives:
        active = self.active()
        if active and all(section.every > 1 for section in active.values()):
            name = next(iter(active))
            raise RuleError(
                f"all objectives have `every` above 1, so that some steps would have no loss; set {name}.every: 1",
                at=(f"{name}.every", name),
            )
        return self

    @property
    def provides(self) -> frozenset[str]:
        """Capabilities that the active objectives give the model."""
        return frozenset().union(*(section.provides for section in self.active().values()))

    @property
    def fuses(self) -> bool:
        """Whether an active objective reads fused tokens."""
        return any(section.fuses for section in self.active().values())

    @property
    def reads_teacher(self) -> bool:
        """Whether an active objective may read the teacher's features."""
        return any(section.teacher != "unused" for section in self.active().values())

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if value is not None}


def providers(capability: str) -> tuple[str, ...]:
    """Return the names of the installed objectives that provide a capability."""
    return tuple(name for name, section in usable(OBJECTIVES).items() if capability in _objective(section).provides)


def _field(section: type[ObjectiveSection]) -> tuple[Any, Any]:
    help = (section.__doc__ or "").strip().split("\n")[0]
    if section.by_default:
        return section, subsection(section, help=help)
    return section | None, part_setting(help=help)


def _objective(section: type[Any]) -> type[ObjectiveSection]:
    assert issubclass(section, ObjectiveSection), "the registry checks it"
    return section


if TYPE_CHECKING:
    ObjectivesSection = Objectives
else:
    ObjectivesSection = create_model(
        "ObjectivesSection",
        __base__=Objectives,
        __doc__="The terms of the loss.",
        **{name: _field(section) for name, section in usable(OBJECTIVES).items()},
    )
