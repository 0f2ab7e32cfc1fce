"""A run resumes only with its own settings and data and from undamaged checkpoints, or with a record of changes."""

import json
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from cbalign.engine.manifest import Manifest
from cbalign.engine.run import find_runs
from tests.cli.tiny import cbalign, write_experiment

FILES = ("model.safetensors", "optimizer.pt", "state.json")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with data and one finished run; its checkpoints are of steps 4 and 6."""
    place = write_experiment(tmp_path_factory.mktemp("original"))
    result = cbalign(place, "train", "spec.yaml")
    assert result.code == 0, result.stderr
    return place


@pytest.fixture
def place(original, tmp_path):
    """A copy of the folder; the run looks as if it was killed after step 4."""
    place = tmp_path / "place"
    shutil.copytree(original, place)
    (run,) = find_runs(place / "runs")
    shutil.rmtree(run.checkpoints / "step-6")
    killed(run)
    # The run was made in another folder; the copy has its own data.
    for file in (run.resolved, run.manifest):
        file.write_text(file.read_text().replace(str(original), str(place)))
    values = json.loads(run.manifest.read_text())
    from cbalign.experiment.dump import experiment_fingerprint
    from cbalign.experiment.load import load_experiment

    values["spec_fingerprint"] = experiment_fingerprint(load_experiment(run.resolved).experiment)
    run.manifest.write_text(json.dumps(values))
    return place


def killed(run):
    values = json.loads(run.manifest.read_text())
    run.manifest.write_text(json.dumps({**values, "status": "running"}))


def run_of(place):
    (run,) = find_runs(place / "runs")
    return run


def resume(place, *words):
    return cbalign(place, "train", str(run_of(place).folder), *words)


def weights(place, step=6):
    return (run_of(place).checkpoints / f"step-{step}" / "model.safetensors").read_bytes()


def test_an_unchanged_run_resumes_to_the_same_weights(place, original):
    result = resume(place)
    assert result.code == 0, result.stderr
    assert weights(place) == weights(original)
    assert Manifest.read(run_of(place).manifest).attempts[-1].accepted == ()


def edit(old, new):
    def change(place):
        path = place / "pairs.csv"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def swap_two_captions(place):
    lines = (place / "pairs.csv").read_text().splitlines()
    (a, first), (b, second) = lines[1].split(","), lines[2].split(",")
    lines[1:3] = [f"{a},{second}", f"{b},{first}"]
    (place / "pairs.csv").write_text("\n".join(lines) + "\n")


def reorder_rows(place):
    header, *lines = (place / "pairs.csv").read_text().splitlines()
    (place / "pairs.csv").write_text("\n".join([header, *reversed(lines)]) + "\n")


def add_a_row(place):
    with open(place / "pairs.csv", "a") as file:
        file.write("0.png,one more\n")


def another_picture(place):
    Image.new("RGB", (20, 20), "black").save(place / "7.png")


DATA = {
    "a caption": edit("square number 5\n", "circle number 5\n"),
    "two captions swapped": swap_two_captions,
    "rows reordered": reorder_rows,
    "a pair more": add_a_row,
    "another picture": another_picture,
}


@pytest.mark.parametrize("change", DATA)
def test_resuming_with_other_data_is_refused_and_leaves_the_run_as_it_was(place, change):
    DATA[change](place)
    before = run_of(place).manifest.read_text()
    result = resume(place)
    assert result.code == 2, result.stderr
    assert "data.train: " in result.stderr
    assert "data.validation: " in result.stderr
    assert "--accept-changes" in result.stderr
    assert run_of(place).manifest.read_text() == before
    assert not (run_of(place).checkpoints / "step-6").exists()


def test_accepted_changes_of_data_are_recorded_once(place):
    DATA["a caption"](place)
    result = resume(place, "--accept-changes")
    assert result.code == 0, result.stderr
    assert "accepted change: data.train" in result.stderr
    manifest = Manifest.read(run_of(place).manifest)
    assert [len(attempt.accepted) for attempt in manifest.attempts] == [0, 2]
    shown = cbalign(place, "runs", "show", "latest")
    assert "accepted changes of data.train" in shown.stdout
    shutil.rmtree(run_of(place).checkpoints / "step-6")
    killed(run_of(place))
    assert resume(place).code == 0, "the manifest has the new fingerprints"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [("lr: 0.0001", "lr: 0.5", "train.optimizer.lr: 0.0001 → 0.5"), ("seed: 0", "seed: 5", "train.seed: 0 → 5")],
)
def test_a_changed_resolved_spec_is_refused_or_recorded(place, old, new, told):
    resolved = run_of(place).resolved
    assert old in resolved.read_text()
    resolved.write_text(resolved.read_text().replace(old, new, 1))
    result = resume(place)
    assert result.code == 2
    assert told in result.stderr
    assert resume(place, "--accept-changes").code == 0
    manifest = Manifest.read(run_of(place).manifest)
    assert manifest.attempts[-1].accepted == (told,)


def test_a_truncated_resolved_spec_is_refused_with_the_lost_settings(place):
    resolved = run_of(place).resolved
    text = resolved.read_text()
    resolved.write_text(text[: text.index("\ntrain:") + 1])
    result = resume(place)
    assert result.code == 2, result.stderr
    assert "train.batch_size: 4 → 64" in result.stderr


def test_runtime_settings_of_the_resolved_spec_may_change(place):
    resolved = run_of(place).resolved
    resolved.write_text(resolved.read_text().replace("log_every: 2 steps", "log_every: 1 steps"))
    assert resume(place).code == 0


def test_a_run_of_an_earlier_version_without_records_resumes(place, original):
    run = run_of(place)
    values = json.loads(run.manifest.read_text())
    del values["settings"]
    values["facts"] = {
        name: value for name, value in values["facts"].items() if name not in ("fingerprints", "pictures")
    }
    run.manifest.write_text(json.dumps(values))
    for path in run.checkpoints.glob("*/SHA256SUMS"):
        path.unlink()
    DATA["a caption"](place)
    assert resume(place).code == 0
    resolved = run.resolved
    resolved.write_text(resolved.read_text().replace("seed: 0", "seed: 5", 1))
    shutil.rmtree(run.checkpoints / "step-6")
    killed(run)
    result = resume(place)
    assert result.code == 2, "its fingerprint still tells that something changed"
    assert "other settings than when the run began" in result.stderr


@pytest.fixture
def two_checkpoints(original, place):
    """The folder with the checkpoints of steps 4 and 6 of a run that is not finished."""
    shutil.copytree(run_of(original).checkpoints / "step-6", run_of(place).checkpoints / "step-6")
    return place


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["one bit", "cut", "missing"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(two_checkpoints, original, name, damage):
    newest = run_of(two_checkpoints).checkpoints / "step-6"
    content = bytearray((newest / name).read_bytes())
    (newest / name).unlink()
    if damage != "missing":
        content[len(content) // 2] ^= 4
        (newest / name).write_bytes(content if damage == "one bit" else content[:-7])
    result = resume(two_checkpoints)
    assert result.code == 0, result.stderr
    assert "falling back to the checkpoint before step-6" in result.stderr
    assert name in result.stderr
    assert weights(two_checkpoints) == weights(original)
    assert (newest.with_name("damaged-step-6")).is_dir()


def test_without_an_older_checkpoint_a_damaged_one_is_an_error_with_a_remedy(place):
    path = run_of(place).checkpoints / "step-4" / "optimizer.pt"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    result = resume(place)
    assert result.code == 3
    assert "optimizer.pt is damaged or was changed" in result.stderr
    assert "remove this one" in result.stderr


def test_evaluating_a_damaged_checkpoint_is_refused(original, two_checkpoints):
    path = run_of(two_checkpoints).checkpoints / "step-6" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    result = cbalign(two_checkpoints, "evaluate", str(run_of(two_checkpoints).folder), "--on", "validation")
    assert result.code == 3
    assert "model.safetensors is damaged or was changed" in result.stderr


def test_checksums_are_those_of_sha256sum(original):
    checkpoint = run_of(original).checkpoints / "step-6"
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=checkpoint, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(line.split(":")[0] for line in done.stdout.splitlines()) == sorted(FILES)


SLOW_START = """
import signal, sys, os, time
import cbalign.tasks.train as module
number = getattr(signal, sys.argv.pop())
def opened(*a, **k):
    os.kill(os.getpid(), number)
    time.sleep(30)
module.open_training = opened
from cbalign.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGUSR1"])
@pytest.mark.parametrize("new", [True, False])
def test_a_signal_in_preparation_exits_75_and_says_how_to_start_again(place, number, new):
    target = "spec.yaml" if new else str(run_of(place).folder)
    done = subprocess.run(
        [sys.executable, "-c", SLOW_START, "train", target, number], cwd=place, capture_output=True, text=True
    )
    assert done.returncode == 75, done.stderr
    assert f"Stopped by {number} before the training began.\nRun the same command again." in done.stderr
    assert len(find_runs(place / "runs")) == 1


LATE_SIGNAL = """
import atexit, os, signal, sys
atexit.register(lambda: os.kill(os.getpid(), signal.SIGUSR1))
from cbalign.cli import main
main(sys.argv[1:])
"""


def test_a_warning_of_the_scheduler_after_the_end_does_not_kill_the_finished_process(place):
    words = ["train", str(run_of(place).folder)]
    done = subprocess.run([sys.executable, "-c", LATE_SIGNAL, *words], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Manifest.read(run_of(place).manifest).status == "finished"


def test_paths_may_be_texts(original, tmp_path):
    from cbalign.engine.reporter import Silent
    from cbalign.engine.run import open_run
    from cbalign.experiment.load import load_experiment
    from cbalign.tasks.load import load_model
    from cbalign.tasks.train import train_experiment

    folder = str(run_of(original).folder)
    assert str(open_run(folder).folder) == folder
    load_model(str(original / "runs" / "latest"), checkpoint=f"{folder}/checkpoints/step-4")
    loaded = load_experiment(original / "spec.yaml", ["train.duration=1 step"])
    assert train_experiment(loaded, str(tmp_path / "runs"), Silent()).run.folder.parent == tmp_path / "runs"


def test_the_order_of_protocols_may_change_in_a_run(place):
    resolved = run_of(place).resolved
    values = json.loads(run_of(place).manifest.read_text())
    resolved.write_text(resolved.read_text().replace("protocols: [dual]", "protocols: [dual, code]"))
    assert "evaluate.0.protocols" in resume(place).stderr
    values["settings"]["evaluate.0.protocols"] = ["code", "dual"]
    run_of(place).manifest.write_text(json.dumps(values))
    assert resume(place).code == 0
