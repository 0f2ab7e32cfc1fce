"""`cbalign runs` on two tiny runs that differ in their learning rate."""

import csv
import io
import json
import os
import shutil
import subprocess

import pytest

from cbalign.engine.manifest import Manifest
from cbalign.engine.run import RunFolder, find_runs
from tests.cli.tiny import cbalign, command, write_experiment

SHORT = ("--set", "train.duration=4 steps", "--set", "train.evaluate_every=2 steps")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a spec, its data and two runs."""
    folder = write_experiment(tmp_path_factory.mktemp("runs"))
    for rate in ("1e-3", "2e-2"):
        result = cbalign(folder, "train", "spec.yaml", *SHORT, "--set", f"train.optimizer.lr={rate}")
        assert result.code == 0, result.stderr
    return folder


@pytest.fixture
def copied(place, tmp_path):
    """The same in a folder of its own, for what changes it."""
    shutil.copytree(place, tmp_path / "place")
    return tmp_path / "place"


def runs_of(folder):
    return find_runs(folder / "runs")


def identities(folder):
    return [run.folder.name.rpartition("-")[2] for run in runs_of(folder)]


def document(folder, *words):
    result = cbalign(folder, "runs", *words, "--json")
    assert result.code == 0, result.stderr
    return json.loads(result.stdout)


def test_the_list_tells_state_step_age_size_and_a_metric(place):
    rows = document(place, "list", "--metric", "text_to_image/mean_rank")["runs"]
    assert [row["status"] for row in rows] == ["finished"] * 2
    assert [row["step"] for row in rows] == [4, 4]
    assert all(row["age_seconds"] >= 0 and row["bytes"] > 100_000 for row in rows)
    for row, run in zip(rows, runs_of(place)):
        name = "validation/dual/text_to_image/mean_rank"
        lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        ranks = {line["step"]: line[name] for line in lines if line["kind"] == "evaluation"}
        assert row["metric"]["name"] == name
        assert row["metric"]["last"] == ranks[4]
        assert row["metric"]["best"] == min(ranks.values()), "a small rank is a good one"
    text = cbalign(place, "runs", "list").stdout
    assert "last, best: validation/dual/image_to_text/r1" in text
    assert all(run.folder.name in text for run in runs_of(place))


def test_the_list_can_be_narrowed(place):
    first, second = (str(run.folder.relative_to(place)) for run in runs_of(place))
    assert [row["run"] for row in document(place, "list", "--where", "train.optimizer.lr=0.02")["runs"]] == [second]
    assert [row["run"] for row in document(place, "list", "--where", "train.seed=0")["runs"]] == [first, second]
    assert document(place, "list", "--where", "train.seed=1")["runs"] == []
    assert document(place, "list", "--name", "ti*", "--state", "killed")["runs"] == []
    assert len(document(place, "list", "--name", "ti*", "--state", "finished")["runs"]) == 2


def test_a_condition_on_no_setting_is_refused(place):
    result = cbalign(place, "runs", "list", "--where", "train.optimizer.Ir=1")
    assert result.code == 2
    assert "There is no setting `train.optimizer.Ir`" in result.stderr


def test_show_tells_everything_about_one_run(place):
    identity = identities(place)[1]
    shown = document(place, "show", identity[:5])
    manifest = Manifest.read(runs_of(place)[1].manifest)
    assert shown["id"] == identity
    assert shown["spec_fingerprint"] == manifest.spec_fingerprint
    assert {"path": "train.optimizer.lr", "effect": "training", "value": 0.02, "default": 1e-4} in shown["settings"]
    assert "train.optimizer.weight_decay" not in {each["path"] for each in shown["settings"]}
    assert shown["attempts"][0]["versions"]["torch"]
    assert set(shown["checkpoints"]) == {"step-2", "step-4"}
    assert shown["metrics"]["validation/dual/image_to_text/r5"]["last"] >= 0
    text = cbalign(place, "runs", "show", "latest").stdout
    for part in ("settings (and their defaults)", "attempts", "environment", "metrics", "checkpoints", "torch"):
        assert part in text


def test_evaluations_made_later_are_shown(copied):
    run = runs_of(copied)[0]
    assert cbalign(copied, "evaluate", str(run.folder), "--on", "validation", "--bootstrap", "0").code == 0
    (evaluation,) = document(copied, "show", run.folder.name)["evaluations"].values()
    assert evaluation["results"][0]["split"] == "validation"


@pytest.mark.parametrize(
    ("word", "message"),
    [("tiny", "matches 2 runs"), ("none", "There is no run 'none'"), ("tiny-2", "Give more of the name, or the id")],
)
def test_a_word_that_means_no_run_or_several_is_refused(word, message, place):
    result = cbalign(place, "runs", "show", word)
    assert result.code == 2
    assert message in result.stderr


def test_looking_at_runs_needs_no_torch(place):
    blocked = place / "blocked"
    blocked.mkdir(exist_ok=True)
    (blocked / "torch.py").write_text("raise SystemExit('torch was imported')")
    path = os.pathsep.join([str(blocked), os.environ.get("PYTHONPATH", os.getcwd())])
    words = ["runs", "show", "latest"]
    script = "import contextlib, sys\nfrom cbalign.cli import main\n"
    script += "for words in sys.argv[1:]:\n    with contextlib.suppress(SystemExit): main(words.split())\n"
    done = subprocess.run(
        [command()[0], "-c", script, "runs list", " ".join(words), "runs compare"],
        cwd=place,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "torch was imported" not in done.stderr + done.stdout
    assert "METRICS" in done.stdout or "TRAINING" in done.stdout


def test_compare_shows_only_what_differs(place):
    compared = document(place, "compare")
    assert [(each["path"], each["effect"], each["values"]) for each in compared["settings"]] == [
        ("train.optimizer.lr", "training", [0.001, 0.02])
    ]
    values = [[run["metrics"][name] for run in compared["runs"]] for name in compared["metrics"]]
    assert values, "two learning rates give other ranks"
    assert all(first != second for first, second in values)
    text = cbalign(place, "runs", "compare").stdout
    assert "TRAINING" in text
    assert "joint_dim" not in text


def test_compare_sorts_the_best_first(place):
    name = "validation/dual/image_to_text/mean_rank"
    ranks = [run["metrics"][name] for run in document(place, "compare", "--sort", "image_to_text/mean_rank")["runs"]]
    assert ranks == sorted(ranks)
    result = cbalign(place, "runs", "compare", "--sort", "accuracy")
    assert result.code == 2
    assert "There is no metric 'accuracy'" in result.stderr


def test_compare_writes_tables(place):
    rows = list(csv.DictReader(io.StringIO(cbalign(place, "runs", "compare", "--csv").stdout)))
    assert [row["train.optimizer.lr"] for row in rows] == ["0.001", "0.02"]
    lines = cbalign(place, "runs", "compare", *identities(place), "--markdown").stdout.splitlines()
    assert lines[0] == f"|  | {' | '.join(identities(place))} |"
    assert "| `train.optimizer.lr` | 0.001 | 0.02 |" in lines


def test_compare_takes_two_runs(place):
    identity = identities(place)[0]
    result = cbalign(place, "runs", "compare", identity, identity)
    assert result.code == 2
    assert "at least two runs" in result.stderr


def test_rerun_trains_the_same_again_and_says_so(copied):
    old = runs_of(copied)[0]
    result = cbalign(copied, "runs", "rerun", old.folder.name)
    assert result.code == 0, result.stderr
    new = RunFolder(copied / result.stdout.strip())
    manifest = Manifest.read(new.manifest)
    assert manifest.rerun_of == old.folder.name
    assert manifest.spec_fingerprint == Manifest.read(old.manifest).spec_fingerprint
    weights = [(run.checkpoints / "step-4" / "model.safetensors").read_bytes() for run in (old, new)]
    assert weights[0] == weights[1]
    card = cbalign(copied, "runs", "show", "latest").stdout
    assert f"rerun of {old.folder.name}" in (" ".join(line.split()) for line in card.splitlines())


def test_rerun_with_another_setting(copied):
    words = ("runs", "rerun", "latest", "--set", "train.seed=5", "--set", "train.duration=1 step")
    result = cbalign(copied, *words)
    assert result.code == 0, result.stderr
    compared = document(copied, "compare", identities(copied)[1], "latest")
    assert {each["path"] for each in compared["settings"]} == {"train.seed", "train.duration"}


def test_remove_asks_first(copied):
    result = cbalign(copied, "runs", "remove", "latest")
    assert result.code == 2
    assert "--yes" in result.stderr
    assert len(runs_of(copied)) == 2


def test_remove_takes_the_whole_run_and_latest_moves_on(copied):
    first, second = runs_of(copied)
    result = cbalign(copied, "runs", "remove", "latest", "--yes")
    assert result.code == 0, result.stderr
    assert result.stdout.strip() == str(second.folder.relative_to(copied))
    assert sorted(path.name for path in (copied / "runs").iterdir()) == ["latest", first.folder.name]
    assert (copied / "runs" / "latest").read_text().strip() == first.folder.name
    assert cbalign(copied, "runs", "remove", "latest", "--yes").code == 0
    assert list((copied / "runs").iterdir()) == []


def test_a_run_that_is_being_trained_is_not_removed(copied):
    first, second = runs_of(copied)
    with second.lock():
        result = cbalign(copied, "runs", "remove", first.folder.name, second.folder.name, "--yes")
    assert result.code == 2
    assert "Another process is training" in result.stderr
    assert len(runs_of(copied)) == 2, "neither of them is gone"


def test_nothing_outside_the_folder_of_runs_is_removed(copied, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    run = runs_of(copied)[0].folder
    shutil.copytree(run, elsewhere / run.name)
    (copied / "runs" / "tiny-link-abcdef").symlink_to(elsewhere / run.name)
    for name in (str(elsewhere / run.name), "tiny-link", f"runs/../../elsewhere/{run.name}"):
        result = cbalign(copied, "runs", "remove", name, "--yes")
        assert result.code == 2, name
        assert "nothing was removed" in result.stderr
    assert (elsewhere / run.name / "manifest.json").is_file()
