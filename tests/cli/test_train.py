"""`cbalign train` on a tiny real experiment: a few dozen drawings, all four objectives."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import cbalign as cbalign_package
from cbalign.engine.manifest import Manifest
from cbalign.engine.run import RunFolder
from cbalign.experiment.tensors import TENSORS, TensorTable
from cbalign.lab.comparison.checkpoints import read_tensors
from tests.cli.tiny import SPEC, cbalign, command, write_experiment


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a spec and its data."""
    return write_experiment(tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="module")
def finished(place):
    """A trained run, and what the command printed."""
    result = cbalign(place, "train", "spec.yaml", "--runs-dir", "done")
    assert result.code == 0, result.stderr
    return result, RunFolder(place / result.stdout.strip())


def test_train_prints_the_run_and_what_to_do_next(finished):
    result, run = finished
    assert run.folder.parent.name == "done"
    assert run.spec.read_text() == SPEC
    assert f"next: cbalign export {run.folder.relative_to(run.folder.parents[1])}" in result.stderr
    assert "step 6/6" in result.stderr
    manifest = Manifest.read(run.manifest)
    assert manifest.status == "finished"
    assert manifest.name == "tiny"
    assert manifest.attempts[0].argv == tuple(sys.argv)
    assert {"parameters", "data"} <= manifest.facts.keys()
    assert any(run.assets.iterdir()), "the tokenizer is kept"
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3, 4, 6, 6]
    terms = {name for name in lines[0] if name.startswith("loss/")}
    assert terms == {"loss/contrastive", "loss/codebook", "loss/matching", "loss/masked_language"}


def test_a_run_records_the_tensors_of_its_checkpoints(finished):
    run = finished[1]
    facts = Manifest.read(run.manifest).facts
    recorded = TensorTable.from_json(facts[TENSORS])
    assert recorded.shapes == read_tensors(run.latest_checkpoint()).shapes
    assert recorded.trainable_parameters == facts["parameters"]["trainable"]
    assert recorded.teacher_parameters == facts["parameters"]["teacher"]


def test_a_finished_run_says_so(finished, place):
    result = cbalign(place, "train", str(finished[1].folder))
    assert result.code == 0
    assert "already finished" in result.stderr
    assert Path(result.stdout.strip()) == finished[1].folder


def resumable(finished, place, name):
    """A copy of the finished run that looks as if it was killed after step 4."""
    run = RunFolder(place / "copies" / name)
    shutil.copytree(finished[1].folder, run.folder)
    shutil.rmtree(run.checkpoints / "step-6")
    manifest = json.loads(run.manifest.read_text())
    run.manifest.write_text(json.dumps({**manifest, "status": "running"}))
    return run


def test_a_killed_run_goes_on_to_the_same_weights(finished, place):
    run = resumable(finished, place, "killed")
    result = cbalign(place, "train", str(run.folder), "--set", "data.workers=1", "--set", "train.log_every=1 steps")
    assert result.code == 0, result.stderr
    assert "resuming after step 4 of 6" in result.stderr
    expected = finished[1].checkpoints / "step-6" / "model.safetensors"
    assert (run.checkpoints / "step-6" / "model.safetensors").read_bytes() == expected.read_bytes()


def test_a_run_killed_before_its_first_checkpoint_starts_over(finished, place):
    run = resumable(finished, place, "early")
    shutil.rmtree(run.checkpoints)
    run.checkpoints.mkdir()
    result = cbalign(place, "train", str(run.folder))
    assert result.code == 0, result.stderr
    expected = finished[1].checkpoints / "step-6" / "model.safetensors"
    assert (run.checkpoints / "step-6" / "model.safetensors").read_bytes() == expected.read_bytes()


def test_changing_the_training_of_a_run_is_refused(finished, place):
    run = resumable(finished, place, "refused")
    result = cbalign(place, "train", str(run.folder), "--set", "train.optimizer.lr=0.5")
    assert result.code == 2
    assert "train.optimizer.lr (training): 0.0001 → 0.5" in result.stderr
    assert f"cbalign runs rerun {run.folder.relative_to(place)} --set" in result.stderr
    assert not (run.checkpoints / "step-6").exists()


def test_sigterm_exits_75_with_the_command_that_goes_on(place):
    endless = ("--set", "train.duration=100000 steps", "--set", "train.evaluate_every=null")
    process = subprocess.Popen(
        command("train", "spec.yaml", "--runs-dir", "stopped", *endless),
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step "):
            break
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate()
    assert process.returncode == 75, stderr
    (run,) = (place / "stopped").glob("tiny-*")
    assert f"cbalign train stopped/{run.name}" in stderr
    assert stdout == ""
    assert Manifest.read(run / "manifest.json").status == "interrupted"


def test_divergence_exits_5(place):
    result = cbalign(
        place, "train", "spec.yaml", "--set", "train.optimizer.lr=1e30", "--set", "train.schedule.warmup_lr=1e30"
    )
    assert result.code == 5, result.stderr
    assert "Training diverged in step" in result.stderr
    assert "samples [" in result.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_exits_4(place):
    result = cbalign(place, "train", "spec.yaml", "--set", "train.device=cuda", "--runs-dir", "none")
    assert result.code == 4
    assert "train.device is cuda" in result.stderr
    assert not (place / "none").exists()


def without_torch(folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command where importing torch would fail."""
    blocked = folder / "blocked"
    blocked.mkdir(exist_ok=True)
    (blocked / "torch.py").write_text("raise SystemExit('torch was imported')")
    path = os.pathsep.join([str(blocked), str(Path(cbalign_package.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_wrong_spec_exits_2_without_importing_torch(place):
    words = command("train", "spec.yaml", "--set", "train.optimizer.Ir=1")
    result = without_torch(place, words)
    assert result.returncode == 2
    assert "lr" in result.stderr


def test_a_runs_folder_that_cannot_be_written_exits_3(place):
    (place / "file").write_text("")
    result = cbalign(place, "train", "spec.yaml", "--runs-dir", "file")
    assert result.code == 3


def test_runs_are_listed(finished, place):
    result = without_torch(place, command("runs", "list", "--runs-dir", "done", "--json"))
    assert result.returncode == 0, result.stderr
    (run,) = json.loads(result.stdout)["runs"]
    assert run["status"] == "finished"
    assert run["step"] == 6


ENDLESS = ("--nproc", "2", "--set", "train.duration=100000 steps", "--set", "train.evaluate_every=null")


def test_a_mistake_is_told_once_and_before_any_process_is_started(place):
    result = without_torch(place, command("train", "spec.yaml", "--nproc", "2", "--set", "train.optimizer.Ir=1"))
    assert result.returncode == 2
    assert result.stderr.count("has no setting `Ir`") == 1
    assert result.stdout == ""


def test_processes_of_torchrun_are_not_multiplied(place, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = without_torch(place, command("train", "spec.yaml", "--nproc", "2"))
    assert result.returncode == 2
    assert "Leave --nproc out" in result.stderr


def ended(place, runs, act, *words):
    """A training in two processes, and what it printed after `act` was done to it in its second step."""
    process = subprocess.Popen(
        command("train", "spec.yaml", "--runs-dir", runs, *ENDLESS, *words),
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    shown = []
    for line in process.stderr:
        shown.append(line)
        if line.startswith("step 2/"):
            break
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    act(process.pid, sorted(map(int, children.stdout.split())))
    stdout, stderr = process.communicate()
    assert stdout == ""
    assert sum(line.startswith("preparing") for line in shown) == 1
    return process.returncode, "".join(line for line in stderr.splitlines(True) if not line.startswith("step"))


def test_a_killed_process_ends_the_others_and_is_named(place):
    code, told = ended(place, "killed", lambda parent, ranks: os.kill(ranks[1], signal.SIGKILL))
    (run,) = (place / "killed").glob("tiny-*")
    assert code == 1
    assert "error: Process 1 of 2 (pid " in told
    assert "was killed by SIGKILL" in told
    assert f"cbalign train killed/{run.name} --nproc=2" in told
    assert len(told.strip().splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [0, 1])
def test_a_process_that_hangs_is_named_within_the_time_limit(place, stopped):
    started = time.monotonic()
    code, told = ended(
        place,
        f"hanging-{stopped}",
        lambda parent, ranks: os.kill(ranks[stopped], signal.SIGSTOP),
        "--set=train.process_timeout=3",
    )
    assert code == 1
    assert f"process {stopped} does not respond" in told
    assert "resume from the newest checkpoint" in told
    assert time.monotonic() - started < 90


@pytest.mark.slow
@pytest.mark.parametrize("to", ["the launcher", "one of them"])
def test_sigterm_exits_75_and_is_told_once(place, to):
    def stop(parent, ranks):
        os.kill(parent if to == "the launcher" else ranks[1], signal.SIGTERM)

    code, told = ended(place, f"stopped by {to}", stop)
    assert code == 75
    assert told.count("Stopped by") == 1
    assert "--nproc=2" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "code", "message"),
    [
        (("train.optimizer.lr=1e30", "train.schedule.warmup_lr=1e30"), 5, "Training diverged in step"),
        (("train.batch_size=3", "train.global_batch_size=9"), 2, "is not a multiple of 6"),
    ],
)
def test_what_all_processes_find_wrong_is_told_once(place, setting, code, message):
    words = command("train", "spec.yaml", "--nproc", "2", *(word for each in setting for word in ("--set", each)))
    result = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stderr
    assert result.stderr.count(message) == 1
