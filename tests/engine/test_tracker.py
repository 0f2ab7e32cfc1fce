"""Trackers: what they are given, and that none of them stops a training."""

import sys
import types
from typing import Literal

import pytest
import tiny_task

from cbalign.engine.distribution import World
from cbalign.engine.loop import fit
from cbalign.engine.reporter import Silent
from cbalign.engine.tracker import Record, RunInfo
from cbalign.experiment.log import LogSection
from cbalign.parts import Effect, TrackerSection, setting

OPENED: list[RunInfo] = []
LOGGED: list[Record] = []
CLOSED: list[RunInfo] = []


class Memory(TrackerSection):
    """Keeps what it is given."""

    builds = "memory_tracker:MemoryTracker"

    kind: Literal["memory"] = setting(effect=Effect.RUNTIME, help="Which tracker.")
    fails: Literal["never", "open", "log", "close"] = setting("never", effect=Effect.RUNTIME, help="Where it fails.")


class MemoryTracker:
    def __init__(self, section: Memory, info: RunInfo) -> None:
        self.fails, self.info = section.fails, info
        if self.fails == "open":
            raise ConnectionError("no network")
        OPENED.append(info)

    def log(self, record: Record) -> None:
        if self.fails == "log":
            raise SystemExit("no network")
        LOGGED.append(record)

    def close(self) -> None:
        if self.fails == "close":
            raise ConnectionError("no network")
        CLOSED.append(self.info)


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def train(new_run, monkeypatch):
    module = types.ModuleType("memory_tracker")
    module.MemoryTracker = MemoryTracker
    monkeypatch.setitem(sys.modules, "memory_tracker", module)
    for kept in (OPENED, LOGGED, CLOSED):
        kept.clear()

    def train(run=None, fails="never"):
        run, notes = run or new_run(), Notes()
        log = LogSection.model_construct(to=(Memory(kind="memory", fails=fails),))
        fit(tiny_task.TinyTask(), tiny_task.settings(), run, World.single(), notes, log=log)
        return run, notes.lines

    return train


def test_a_tracker_gets_every_record_of_metrics_jsonl(train):
    run, _ = train()
    assert [record.to_json() for record in LOGGED] == run.metrics.read_text().splitlines()
    assert [info.folder for info in CLOSED] == [run.folder]
    assert (OPENED[0].name, OPENED[0].spec, OPENED[0].resumed) == ("tiny", {"name": "tiny"}, False)
    assert not run.tensorboard.exists()


def test_a_resumed_training_continues_the_same_run_of_the_tracker(train):
    run, _ = train()
    train(run)
    first, second = OPENED
    assert (second.id, second.resumed, second.done) == (first.id, True, 24)


@pytest.mark.parametrize(
    ("fails", "says"), [("open", "cannot be opened"), ("log", "failed in step 3"), ("close", "failed when")]
)
def test_a_tracker_that_fails_is_switched_off_with_one_warning(train, fails, says):
    run, notes = train(fails=fails)
    warnings = [line for line in notes if line.startswith("warning")]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"warning: the tracker memory {says}")
    assert "no network" in warnings[0]
    assert len(run.metrics.read_text().splitlines()) == 14
