"""`cbalign sweep` on a tiny real experiment."""

import csv
import io
import json
import shutil
import signal
import statistics
import subprocess

import pytest

from cbalign.engine.manifest import Manifest
from cbalign.engine.run import RunFolder, find_runs
from tests.cli.tiny import cbalign, command, write_experiment

SHORT = ("--set", "train.duration=2 steps", "--set", "train.evaluate_every=null")
RATES = ("--over", "train.optimizer.lr=1e-3,2e-2")
METRIC = "validation/dual/image_to_text/mean_rank"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a spec and its data."""
    return write_experiment(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def swept(place):
    """What the command printed after two learning rates with two seeds."""
    result = cbalign(place, "sweep", "spec.yaml", *SHORT, *RATES, "--seeds", "2", "--json")
    assert result.code == 0, result.stderr
    return result


def test_every_combination_is_trained_once(place, swept):
    trainings = json.loads(swept.stdout)["trainings"]
    wanted = [("1e-3", "0"), ("1e-3", "1"), ("2e-2", "0"), ("2e-2", "1")]
    assert [(t["changes"]["train.optimizer.lr"], t["changes"]["train.seed"]) for t in trainings] == wanted
    assert {t["state"] for t in trainings} == {"finished"}
    for training in trainings:
        manifest = Manifest.read(place / training["run"] / "manifest.json")
        assert manifest.status == "finished"
        assert manifest.spec_fingerprint == training["fingerprint"]
    before_training, _, _ = swept.stderr.partition("preparing")
    assert "4 trainings, 4 to do" in before_training


def test_the_table_is_mean_and_deviation_over_seeds(place, swept):
    document = json.loads(swept.stdout)
    assert [row["changes"] for row in document["results"]] == [
        {"train.optimizer.lr": "1e-3"},
        {"train.optimizer.lr": "2e-2"},
    ]
    for row in document["results"]:
        values = [Manifest.read(place / run / "manifest.json").metrics[METRIC] for run in row["runs"]]
        assert len(values) == row["trainings"] == 2
        average = row["metrics"][METRIC]
        assert average["mean"] == pytest.approx(statistics.mean(values))
        assert average["sd"] == pytest.approx(statistics.stdev(values))


def test_what_is_there_is_not_trained_again(place, swept):
    before = find_runs(place / "runs")
    words = ("sweep", "spec.yaml", *SHORT, *RATES, "--seeds", "2")
    result = cbalign(place, *words, "--metric", "image_to_text/mean_rank")
    assert result.code == 0, result.stderr
    assert "0 to do" in result.stderr
    assert "±" in result.stdout
    assert find_runs(place / "runs") == before
    rows = list(csv.DictReader(io.StringIO(cbalign(place, *words, "--csv").stdout)))
    expected = json.loads(swept.stdout)["results"]
    assert [float(row[f"{METRIC} mean"]) for row in rows] == [row["metrics"][METRIC]["mean"] for row in expected]
    assert "| `train.optimizer.lr` | runs |" in cbalign(place, *words, "--markdown").stdout


def test_a_training_of_a_sweep_is_that_of_train(place, swept):
    """The third training of a process ends in the very weights that a process of its own finds."""
    training = json.loads(swept.stdout)["trainings"][2]
    alone = cbalign(place, "train", "spec.yaml", *SHORT, "--set", "train.optimizer.lr=2e-2", "--runs-dir", "alone")
    weights = [
        (place / run.strip() / "checkpoints" / "step-2" / "model.safetensors").read_bytes()
        for run in (training["run"], alone.stdout)
    ]
    assert weights[0] == weights[1]


def test_a_dry_run_only_shows(place):
    words = ("--paired", "train.batch_size=2,4", "--paired", "train.optimizer.lr=1e-4,2e-4", "--dry-run")
    result = cbalign(place, "sweep", "spec.yaml", *words, "--runs-dir", "none", "--json")
    trainings = json.loads(result.stdout)["trainings"]
    assert [tuple(t["changes"].values()) for t in trainings] == [("2", "1e-4"), ("4", "2e-4")]
    assert {t["state"] for t in trainings} == {"missing"}
    assert not (place / "none").exists()


def test_one_wrong_combination_stops_everything_before_it_begins(place):
    words = ("--over", "train.batch_size=4,3", "--over", "train.optimizer.lr=1e-3,-1", "--runs-dir", "wrong")
    result = cbalign(place, "sweep", "spec.yaml", *words)
    assert result.code == 2
    assert "with train.batch_size=3 train.optimizer.lr=1e-3" in result.stderr
    assert "global_batch_size 8 is not a multiple of batch_size 3" in result.stderr
    assert "with train.batch_size=4 train.optimizer.lr=-1" in result.stderr
    assert not (place / "wrong").exists()


def test_settings_that_change_no_result_are_one_training(place):
    result = cbalign(place, "sweep", "spec.yaml", "--over", "data.workers=0,1,2", "--dry-run")
    assert "2 of 3 combinations repeat another training" in result.stderr
    assert "1 training, 1 to do" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "No setting is given"),
        (("--over", "train.optimizer.Ir=1,2"), "There is no setting `train.optimizer.Ir`"),
        (("--over", "train.optimizer.lr"), "must have the form"),
        (("--over", "train.optimizer.lr=1e-4..1e-3"), "--random"),
        (("--over", "train.seed=1,2", "--seeds", "2"), "`train.seed` is given twice"),
        (("--paired", "train.seed=1,2", "--paired", "train.batch_size=4"), "train.batch_size has 1"),
        (("--seeds", "2", "--metric", "none"), "There is no metric 'none'"),
    ],
)
def test_what_cannot_be_swept_is_said(words, message, place, swept):
    result = cbalign(place, "sweep", "spec.yaml", *SHORT, "--set", "train.optimizer.lr=1e-3", *words)
    assert result.code == 2
    assert message in result.stderr


def test_a_failure_stops_no_other_and_sets_the_exit_code(place):
    words = ("sweep", "spec.yaml", *SHORT, "--set", "train.duration=4 steps", "--runs-dir", "failing")
    words += ("--over", "train.optimizer.lr=1e30,1e-3", "--json")
    result = cbalign(place, *words)
    assert result.code == 5, result.stderr
    diverged, finished = json.loads(result.stdout)["trainings"]
    assert (diverged["state"], finished["state"]) == ("failed", "finished")
    assert "Training diverged in step" in diverged["message"]
    again = cbalign(place, *words)
    assert again.code == 5
    assert "has diverged" in again.stderr
    assert len(find_runs(place / "failing")) == 2, "it would diverge again"


def test_a_run_that_was_begun_is_gone_on_with(place, swept):
    folder = place / "resumed"
    shutil.copytree(place / "runs", folder)
    killed = RunFolder(folder / json.loads(swept.stdout)["trainings"][1]["run"].removeprefix("runs/"))
    expected = (killed.checkpoints / "step-2" / "model.safetensors").read_bytes()
    manifest = json.loads(killed.manifest.read_text())
    killed.manifest.write_text(json.dumps({**manifest, "status": "running"}))
    shutil.rmtree(killed.checkpoints / "step-2")
    result = cbalign(place, "sweep", "spec.yaml", *SHORT, *RATES, "--seeds", "2", "--runs-dir", "resumed")
    assert result.code == 0, result.stderr
    assert f"resuming resumed/{killed.folder.name}" in result.stderr
    assert len(find_runs(folder)) == 4
    assert Manifest.read(killed.manifest).status == "finished"
    assert (killed.checkpoints / "step-2" / "model.safetensors").read_bytes() == expected


def test_a_signal_exits_75_and_the_same_command_goes_on(place):
    words = ("sweep", "spec.yaml", "--set", "train.duration=16 steps", "--set", "train.evaluate_every=null")
    words += ("--seeds", "2", "--runs-dir", "stopped")
    process = subprocess.Popen(command(*words), cwd=place, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("[2/2]"):
            break
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate()
    assert process.returncode == 75, stderr
    assert "Repeat the same command to continue" in stderr
    assert stdout == ""
    (first, *_) = find_runs(place / "stopped")
    attempts = Manifest.read(first.manifest).attempts
    result = cbalign(place, *words)
    assert result.code == 0, result.stderr
    assert "2 trainings, 1 to do" in result.stderr
    assert len(find_runs(place / "stopped")) == 2
    assert Manifest.read(first.manifest).attempts == attempts
