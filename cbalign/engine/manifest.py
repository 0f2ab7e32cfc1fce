"""The manifest of a run: the code, machine, data and command that produced it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cbalign.engine.files import write_durably
from cbalign.errors import CheckpointError

PLUGINS = "plugins"  # in the facts: distributions whose parts the run uses, with their versions

Status = Literal["created", "running", "finished", "interrupted", "diverged", "failed", "killed"]


@dataclass(frozen=True)
class Attempt:
    """One process (or group of processes) that worked on a run: the first start, or a resumption."""

    started: str  # UTC, ISO 8601
    from_step: int
    argv: tuple[str, ...]
    host: str
    device: str
    processes: int
    versions: Mapping[str, str]
    revision: str | None  # git commit that cbalign's code came from, with `+changes` where the tree differed
    ended: str | None = None
    to_step: int | None = None
    status: Status = "running"
    message: str = ""
    precision: Literal["fp32", "bf16"] | None = None  # what it computed in: fp32 or bf16
    accepted: tuple[str, ...] = ()  # changes of settings and data since the attempt before, which the user accepted


@dataclass(frozen=True)
class AcceptedChanges:
    """What changed since a run began, and the new values for its manifest."""

    changes: tuple[str, ...]  # for people
    spec_fingerprint: str
    settings: Mapping[str, object]
    facts: Mapping[str, object]


@dataclass(frozen=True)
class Manifest:
    """The content of a run's `manifest.json`."""

    name: str
    id: str
    created: str  # UTC, ISO 8601
    spec_fingerprint: str
    facts: Mapping[str, object] = field(default_factory=dict)  # of the task: parameters, fingerprints of the data
    status: Status = "created"
    attempts: tuple[Attempt, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)  # of the last evaluation
    settings: Mapping[str, object] = field(default_factory=dict)  # what the fingerprint is of; empty in older runs
    rerun_of: str | None = None  # the run whose settings it took, where it was made by `runs rerun`

    @property
    def precision(self) -> Literal["fp32", "bf16"] | None:
        """The precision of the first attempt, if recorded."""
        return next((a.precision for a in self.attempts if a.precision), None)

    def write(self, path: Path) -> None:
        """Replace the file at `path`.

        Raises:
            StorageError: it cannot be written.
        """
        text = json.dumps({"format": 1, **asdict(self)}, indent=2, ensure_ascii=False, default=str)
        write_durably(path, (text + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """The manifest at `path`.

        Raises:
            CheckpointError: it is missing, damaged or of a newer format.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise TypeError(f"it contains a {type(values).__name__}, not an object")
            datetime.fromisoformat(values["created"])
            if values.pop("format") != 1:
                raise CheckpointError(f"{path} was written by a newer cbalign.", remedy="Update cbalign.")
            attempts = [
                Attempt(**{**a, "argv": tuple(a["argv"]), "accepted": tuple(a.get("accepted", ()))})
                for a in values.pop("attempts")
            ]
            return cls(**values, attempts=tuple(attempts))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise CheckpointError(f"Cannot read the manifest {path}: {reason}.") from error

    def accept(self, accepted: AcceptedChanges) -> Manifest:
        """Return the manifest for continuing the run with changed settings or data."""
        return replace(
            self,
            spec_fingerprint=accepted.spec_fingerprint,
            settings=dict(accepted.settings),
            facts={**self.facts, **accepted.facts},
        )

    def begin(self, attempt: Attempt) -> Manifest:
        """Return the manifest with a further, running attempt; an earlier attempt without an end was killed."""
        before = [replace(a, status="killed") if a.status == "running" else a for a in self.attempts]
        return replace(self, status="running", attempts=(*before, attempt))

    def end(self, status: Status, *, step: int, message: str, metrics: Mapping[str, float]) -> Manifest:
        """Return the manifest with the last attempt ended."""
        last = replace(self.attempts[-1], ended=now(), to_step=step, status=status, message=message)
        return replace(self, status=status, attempts=(*self.attempts[:-1], last), metrics=dict(metrics) or self.metrics)


def now() -> str:
    """Return the time in the format of manifests, precise enough to order runs that begin in the same second."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
