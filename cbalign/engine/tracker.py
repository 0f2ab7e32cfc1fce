"""Trackers: where the metrics of a training are logged besides `metrics.jsonl`. No torch.

A tracker is opened each time that a training starts or resumes, by the main process only. When it raises an exception
it is switched off with a warning, and the training continues.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from cbalign.parts import TrackerSection
from cbalign.parts.part import describe


@dataclass(frozen=True)
class Record:
    """Metrics after `step` optimiser steps: means since the last log line (`train`), or those of an evaluation."""

    kind: Literal["train", "evaluation"]
    step: int
    epoch: float
    values: Mapping[str, float]

    def to_json(self) -> str:
        """One line of JSON; numbers that are not finite become null."""
        values = {name: value if math.isfinite(value) else None for name, value in self.values.items()}
        return json.dumps({"kind": self.kind, "step": self.step, "epoch": round(self.epoch, 6), **values})


@dataclass(frozen=True)
class RunInfo:
    """What a tracker knows of the run whose metrics it logs.

    Args:
        folder: the run directory; a tracker may write a folder or file of its own there.
        name: name of the experiment.
        id: identifies the run, and is the same each time that its training resumes.
        spec: the resolved spec as plain data.
        done: steps that are complete. Records of later steps may have been logged before a crash; they come again.
        resumed: whether a process worked on the run before.
    """

    folder: Path
    name: str
    id: str
    spec: Mapping[str, Any]
    done: int = 0
    resumed: bool = False


class Tracker(Protocol):
    """Logs the metrics of one training."""

    def log(self, record: Record) -> None:
        """Log metrics; steps only increase."""

    def close(self) -> None:
        """Write what is buffered; the training has ended, in whatever way."""


class OptionalTracker:
    """A tracker of a spec, switched off with one warning when it fails.

    Args:
        section: describes it.
        info: the run.
        warn: called with the warning.
    """

    def __init__(self, section: TrackerSection, info: RunInfo, warn: Callable[[str], None]) -> None:
        self._section, self._warn = section, warn
        self._tracker: Tracker | None = None
        try:
            self._tracker = section.build(info)
        except (Exception, SystemExit) as error:  # code of somebody else can raise anything
            self._switch_off("cannot be opened", error)

    def log(self, record: Record) -> None:
        """Log metrics, while it works."""
        if self._tracker is None:
            return
        try:
            self._tracker.log(record)
        except (Exception, SystemExit) as error:
            tracker = self._tracker
            self._switch_off(f"failed in step {record.step}", error)
            with suppress(Exception, SystemExit):
                tracker.close()

    def close(self) -> None:
        """Close it, while it works."""
        if self._tracker is None:
            return
        try:
            self._tracker.close()
        except (Exception, SystemExit) as error:
            self._switch_off("failed when it was closed", error)

    def _switch_off(self, what: str, error: BaseException) -> None:
        self._tracker = None
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        self._warn(f"warning: the tracker {describe(type(self._section))} {what} and is switched off: {reason}")
