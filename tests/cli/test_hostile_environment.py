"""Closed streams, a removed working directory, and damaged neighbours: each is one message, and never a bug."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cbalign.engine.run import create_run

SPEC = "cbalign: 1\nname: x\ndata:\n  train: {source: openmoji, split: train}\n"


def shell(script, folder):
    """Run a line of shell, in which `cbalign` is a command."""
    command = f'cbalign() {{ "{sys.executable}" -m cbalign "$@"; }}; {script}'
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, env=environment)


def is_clean(done):
    return "This is a bug" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code"), [("ls >&-", 0), ("validate - <&-", 2), ("ls 2>&-", 0), ("validate spec.yaml >&- 2>&-", 0)]
)
def test_a_closed_stream_is_like_the_null_device(tmp_path, words, code):
    (tmp_path / "spec.yaml").write_text(SPEC)
    done = shell(f"cbalign {words}", tmp_path)
    assert (done.returncode, is_clean(done)) == (code, True), done.stderr


def test_a_removed_working_directory_is_named(tmp_path):
    (tmp_path / "gone").mkdir()
    done = shell("rmdir $PWD; cbalign validate spec.yaml", tmp_path / "gone")
    assert (done.returncode, is_clean(done)) == (3, True), done.stderr
    assert "the working directory was removed" in done.stderr


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Two runs that made no step."""
    runs = tmp_path_factory.mktemp("place") / "runs"
    for name in ("first", "second"):
        create_run(runs, name, spec=SPEC, resolved=SPEC, fingerprint=name, facts={})
    return runs.parent


@pytest.fixture
def runs(template, tmp_path):
    shutil.copytree(template / "runs", tmp_path / "runs")
    return tmp_path / "runs"


DAMAGE = {
    "empty manifest": lambda run: (run / "manifest.json").write_text(""),
    "list for a manifest": lambda run: (run / "manifest.json").write_text("[1, 2]"),
    "manifest of a newer version": lambda run: (run / "manifest.json").write_text(
        (run / "manifest.json").read_text().replace('"format": 1', '"format": 9')
    ),
    "manifest without a time": lambda run: (run / "manifest.json").write_text(
        (run / "manifest.json").read_text().replace('"created"', '"made"')
    ),
    "no metrics": lambda run: (run / "metrics.jsonl").unlink(),
    "folder for metrics": lambda run: ((run / "metrics.jsonl").unlink(), (run / "metrics.jsonl").mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_does_not_hide_its_neighbours(runs, damage):
    from click.testing import CliRunner

    from cbalign.cli import main

    (broken,) = runs.glob("first-*")
    DAMAGE[damage](broken)
    result = CliRunner().invoke(main, ["runs", "list", "--runs-dir", str(runs)])
    assert result.exit_code == 0, result.stderr
    assert "second" in result.stdout
    assert f"{broken} is damaged and not shown: Cannot read" in result.stderr or "newer cbalign" in result.stderr
    document = json.loads(CliRunner().invoke(main, ["runs", "list", "--json", "--runs-dir", str(runs)]).stdout)
    assert [row["name"] for row in document["runs"]] == ["second"]
    assert [row["run"] for row in document["damaged"]] == [str(broken)]


@pytest.mark.parametrize("content", [b"caf\xe9\n", b"\0\n", b""])
@pytest.mark.parametrize("words", [["runs", "show"], ["train"], ["evaluate"]])
def test_a_damaged_name_of_the_latest_run_is_one_message(runs, words, content):
    from click.testing import CliRunner

    from cbalign.cli import main

    (runs / "latest").write_bytes(content)
    result = CliRunner().invoke(main, [*words, str(runs / "latest")])
    assert result.exit_code in (2, 3), result.stderr
    assert "This is a bug" not in result.stderr


@pytest.mark.parametrize("words", [("--seeds", "100000000"), ("--over", "train.seed=1,2", "--random", "1000000")])
def test_a_sweep_of_millions_is_refused_at_once(tmp_path, words):
    from click.testing import CliRunner

    from cbalign.cli import main

    (tmp_path / "spec.yaml").write_text(SPEC)
    result = CliRunner().invoke(main, ["sweep", str(tmp_path / "spec.yaml"), *words, "--dry-run"])
    assert result.exit_code == 2
    assert "more than 10,000" in result.stderr
