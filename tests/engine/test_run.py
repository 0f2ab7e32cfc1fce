"""Run directories, their manifests, their records and what is shown of them."""

import io
import json
import math
from dataclasses import replace

import pytest
import tiny_task
from rich.console import Console

from cbalign.engine.manifest import Manifest
from cbalign.engine.metrics_file import MetricsFile
from cbalign.engine.reporter import Bar, Lines, console_reporter
from cbalign.engine.run import find_runs, is_run, open_run, summarise_run
from cbalign.engine.tracker import Record
from cbalign.errors import CheckpointError, StorageError


def test_a_new_run_has_its_spec_and_is_the_latest(tmp_path):
    first, second = (tiny_task.new_run(tmp_path / "runs") for _ in range(2))
    assert first.folder != second.folder
    assert second.folder.name.startswith("tiny-")
    assert second.spec.read_text() == "name: tiny\n"
    assert Manifest.read(second.manifest).status == "created"
    pointer = tmp_path / "runs" / "latest"
    assert is_run(pointer)
    assert open_run(pointer) == second
    assert open_run(first.folder) == first


def test_runs_made_in_one_second_keep_their_order(tmp_path):
    made = [tiny_task.new_run(tmp_path / "runs") for _ in range(20)]
    assert find_runs(tmp_path / "runs") == made


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no manifest\.json"):
        open_run(tmp_path)


def test_a_run_without_checkpoint_says_what_to_do(new_run):
    with pytest.raises(CheckpointError, match="cbalign train"):
        new_run().latest_checkpoint()


def test_a_runs_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        tiny_task.new_run(tmp_path / "file" / "runs")


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2}', '{"format": 1, "attempts": [{}]}', "[]"])
def test_a_damaged_manifest_is_named(new_run, content):
    run = new_run()
    run.manifest.write_text(content)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        Manifest.read(run.manifest)


def test_the_manifest_says_who_trained_with_what(new_run):
    run = new_run()
    tiny_task.train(run)
    manifest = Manifest.read(run.manifest)
    attempt = manifest.attempts[0]
    assert {"python", "torch", "platform", "cbalign"} <= attempt.versions.keys()
    assert attempt.device.startswith("cpu: ")
    assert attempt.ended is not None
    assert attempt.started <= attempt.ended


def record(step, **values):
    return Record("train", step, step / 10, values)


def test_metrics_continue_after_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path, done=0)
    for step in (1, 2, 3):
        metrics.log(record(step, loss=step))
    metrics.log(Record("evaluation", 2, 0.2, {"r1": 0.5}))
    metrics.close()
    with open(path, "a") as file:
        file.write('{"kind": "train", "st')
    continued = MetricsFile(path, done=2)
    assert continued.evaluation(2) == {"r1": 0.5}
    assert continued.evaluation(1) == {}
    continued.log(record(3, loss=30))
    continued.close()
    assert [(r["step"], r.get("loss")) for r in map(json.loads, path.read_text().splitlines())] == [
        (1, 1),
        (2, 2),
        (2, None),
        (3, 30),
    ]


def test_numbers_that_are_not_finite_stay_valid_json():
    line = json.loads(record(1, loss=math.nan, best=-math.inf).to_json())
    assert line["loss"] is None
    assert line["best"] is None


VALUES = {"loss": 1.5, "loss/fit": 1.25, "lr": 0.001, "samples_per_second": 99.6}


def test_without_a_terminal_records_are_plain_lines():
    out = io.StringIO()
    reporter = console_reporter(Console(file=out, width=40), interactive=False)
    assert isinstance(reporter, Lines)
    assert not isinstance(reporter, Bar)
    reporter.start(20, 0)
    reporter.advance(10)
    reporter.record(record(10, **VALUES))
    reporter.record(Record("evaluation", 10, 1.0, {"validation/r1": 0.25, "validation/r5": 0.5}))
    reporter.note("a [note]")
    reporter.stop()
    train, evaluation, group, note = out.getvalue().splitlines()
    assert train.startswith("step 10/20  epoch 1.00  loss 1.5000 (fit 1.250)  lr 1.00e-03  100/s  ETA ")
    assert evaluation.endswith("evaluation")
    assert group == "  validation: r1 0.25  r5 0.5"
    assert note == "a [note]"


def test_on_a_terminal_a_bar_moves(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = io.StringIO()
    reporter = console_reporter(Console(file=out, force_terminal=True, width=160), interactive=True)
    assert isinstance(reporter, Bar)
    reporter.start(20, 5)
    reporter.advance(20)
    reporter.record(record(20, **VALUES))
    reporter.stop()
    assert "20/20" in out.getvalue()
    assert "loss 1.5000" in out.getvalue()


def test_runs_are_listed_with_what_became_of_them(tmp_path, new_run):
    finished, killed = new_run(), new_run()
    tiny_task.train(finished)
    tiny_task.train(killed)
    manifest = Manifest.read(killed.manifest)
    replace(manifest, status="running").write(killed.manifest)
    summaries = {run.folder: summarise_run(run) for run in find_runs(tmp_path / "runs")}
    assert summaries.keys() == {finished.folder, killed.folder}
    assert summaries[finished.folder].status == "finished"
    assert summaries[finished.folder].step == 24
    assert summaries[finished.folder].metrics == manifest.metrics
    assert summaries[killed.folder].status == "killed"
    with killed.lock():
        assert summarise_run(killed).status == "running"
    assert find_runs(tmp_path / "nowhere") == []
