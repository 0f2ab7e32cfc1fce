"""A small part of the trials; `make trials` runs them at full size."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.trials.__main__ import trial_of
from tests.trials.activities import Activity, Index, Pack
from tests.trials.crashes import Crashes
from tests.trials.mutation import Base, Mutation, require
from tests.trials.trial import run_trial

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


@pytest.mark.parametrize(
    ("name", "count"), [("specs", 40), ("data_files", 110), ("bundles", 60), ("requests", 90), ("checkpoints", 8)]
)
def test_changed_files_and_requests_are_refused_or_give_right_results(name: str, count: int, tmp_path: Path) -> None:
    report = run_trial(trial_of(name), range(count), folder=tmp_path)
    assert not report.failed, report.text(name, 0)
    assert sum(report.counts.values()) == count


class QuickCrashes(Crashes):
    """Kills of what is fast."""

    def activity(self, number: int) -> type[Activity]:
        return (Pack, Index)[number % 2]


def test_packing_and_indexing_can_be_killed_at_any_operation(tmp_path: Path) -> None:
    report = run_trial(QuickCrashes, range(14), folder=tmp_path)
    assert not report.failed, report.text("crashes", 0)
    assert sum(count for what, count in report.counts.items() if "0 kills" not in what) > 10


class Forgetful(Mutation):
    """Fails when a file has lost its first byte, and dies when the second one has changed."""

    name, full = "forgetful", 0

    def bases(self) -> list[Base]:
        return [Base("a file", {"file": b"ab" + bytes(6)})]

    def judge(self, base: Base, files: dict[str, bytes], number: int) -> str:
        if files["file"][1:2] != b"b" and files["file"][:1] == b"a":
            import os

            os._exit(3)
        require(files["file"][:1] == b"a", "it is lost")
        return "accepted"


def test_a_failure_and_a_death_are_found_counted_and_reduced(tmp_path: Path) -> None:
    report = run_trial(Forgetful, range(60), seed=1, jobs=2, folder=tmp_path)
    assert sum(report.counts.values()) == 60
    assert report.counts["failed"] == len(report.failed) > 5
    assert any("it is lost" in each.why for each in report.failed)
    assert any("ended with 3" in each.why for each in report.failed)
    case = next(each for each in report.failed if "it is lost" in each.why)
    assert case.did.count("Edit(") == 1, "reduced to one edit"
    again = run_trial(Forgetful, [int(case.case)], seed=1, folder=tmp_path)
    assert again.failed == [case], "the case can be repeated"
