"""The `log` section: metric trackers in addition to metrics.jsonl."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import model_validator

from cbalign.experiment.unions import union, usable
from cbalign.parts import Effect, RuleError, Section, TrackerSection, setting
from cbalign.parts.registry import TRACKERS

if TYPE_CHECKING:
    Tracker = TrackerSection
else:
    Tracker = union(TRACKERS)


def _tensorboard() -> tuple[TrackerSection, ...]:
    return (usable(TRACKERS)["tensorboard"].model_validate({"kind": "tensorboard"}),)  # type: ignore[return-value]


class LogSection(Section):
    """The trackers that receive metrics."""

    to: tuple[Tracker, ...] = setting(
        default_factory=_tensorboard,
        effect=Effect.RUNTIME,
        help="Trackers; metrics.jsonl is always written. A tracker that fails does not stop the training.",
    )

    @model_validator(mode="after")
    def _each_tracker_once(self) -> LogSection:
        kinds = tuple(tracker.kind for tracker in self.to)
        if len(set(kinds)) < len(kinds):
            raise RuleError(f"to lists {next(k for k in kinds if kinds.count(k) > 1)} twice", at=("to",))
        return self
