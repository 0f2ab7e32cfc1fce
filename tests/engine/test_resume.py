"""A training that was stopped, in whatever way, ends as if it had not been."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_task

from cbalign.engine.checkpoint import read_state
from cbalign.engine.checkpoint_folder import list_checkpoints
from cbalign.engine.manifest import Manifest
from cbalign.errors import Interrupted, UsageError

PROGRAM = Path(tiny_task.__file__)


@pytest.mark.parametrize("keep_best", [(), ("validation/wavering",)])
def test_resume_after_kill_at_any_moment_gives_identical_weights_and_metrics(tmp_path, keep_best):
    result = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), "8", *keep_best], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    undisturbed, *killed = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(killed) == 8
    assert sum(run["kills"] for run in killed) >= 8
    assert {run["digest"] for run in killed} == {undisturbed["digest"]}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signal_finishes_the_step_and_saves(new_run, number):
    undisturbed, stopped = new_run(), new_run()
    tiny_task.train(undisturbed)
    task = tiny_task.TinyTask()
    task.hook = lambda event: os.kill(os.getpid(), number) if event == "step" and len(task.seen) == 26 else None
    with pytest.raises(Interrupted, match=signal.Signals(number).name) as caught:
        tiny_task.train(stopped, task)
    assert caught.value.exit_code == 75
    assert f"cbalign train {stopped.folder}" in str(caught.value)
    assert len(task.seen) == 28, "the fourth micro-batch of step 7 was still made"
    assert read_state(stopped.latest_checkpoint()).step == 7
    assert Manifest.read(stopped.manifest).status == "interrupted"
    assert signal.getsignal(number) != task.hook

    tiny_task.train(stopped)
    assert tiny_task.digest(stopped) == tiny_task.digest(undisturbed)
    assert [a.status for a in Manifest.read(stopped.manifest).attempts] == ["interrupted", "finished"]


def test_signal_breaks_an_evaluation_off_and_resuming_makes_it(new_run):
    undisturbed, stopped = new_run(), new_run()
    tiny_task.train(undisturbed)
    task = tiny_task.TinyTask()
    task.hook = lambda event: os.kill(os.getpid(), signal.SIGTERM) if event == "evaluate" else None
    with pytest.raises(Interrupted):
        tiny_task.train(stopped, task)
    assert read_state(stopped.latest_checkpoint()).step == 4
    assert all(line["kind"] == "train" for line in tiny_task.metrics_of(stopped))
    assert task.model.training

    tiny_task.train(stopped)
    assert tiny_task.digest(stopped) == tiny_task.digest(undisturbed)


def test_second_signal_ends_the_process_at_once(tmp_path):
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
from pathlib import Path
import tiny_task
task = tiny_task.TinyTask()
def twice(event):
    if event == "step" and len(task.seen) == 10:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
task.hook = twice
tiny_task.train(tiny_task.new_run(Path({str(tmp_path)!r})), task)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == -signal.SIGTERM, result.stderr


def test_stray_lines_of_a_killed_process_are_cut_off(new_run):
    run = new_run()
    tiny_task.train(run)
    expected = tiny_task.metrics_of(run)
    newest, before = list_checkpoints(run.checkpoints)[::-1]
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    with open(run.metrics, "a") as file:
        file.write('{"kind": "train", "step": 23, "epo')
    assert read_state(before).step == 20
    tiny_task.train(run)
    assert tiny_task.metrics_of(run) == expected


def test_resuming_refuses_another_length(new_run):
    run = new_run()
    tiny_task.train(run)
    with pytest.raises(UsageError, match="total steps were 24, now 26"):
        tiny_task.train(run, section=tiny_task.settings(duration="13 epochs"))


def test_a_run_is_trained_by_one_process_at_a_time(new_run):
    run = new_run()
    with run.lock(), pytest.raises(UsageError, match="Another process"):
        tiny_task.train(run)
    tiny_task.train(run)
