"""Tensors of models that have no record: built by one other process, then read from the user's cache."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from cbalign.experiment.derived import Known
from cbalign.experiment.load import load_experiment
from cbalign.experiment.tensors import TensorInfo, TensorTable
from cbalign.lab.comparison import tensors
from cbalign.lab.comparison.checkpoints import MODEL, read_tensors
from cbalign.lab.comparison.tensors import NO_TORCH, shaping_settings, with_tensors

SMALL = TensorTable({"student.x": TensorInfo((2, 3), 4, "text tower", "trainable")})


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "caches/cbalign/tensors"


@pytest.fixture
def asked(monkeypatch):
    """What the other process, which is not started, would have been asked; it answers with `SMALL`."""
    requests = []

    def ask(text, count):
        requests.append(json.loads(text))
        return [{"tensors": SMALL.to_json()}] * count

    monkeypatch.setattr(tensors, "_ask", ask)
    return requests


def spec(*overrides):
    return load_experiment("quickstart", overrides, check_files=False).experiment


def known(*experiments):
    return with_tensors(experiments, [Known()] * len(experiments))


def refuse(*arguments, **options):
    raise AssertionError("a process was started")


def test_two_models_are_built_by_one_process_and_read_from_the_cache_afterwards(asked, monkeypatch):
    pair = spec("model.joint_dim=32"), spec("model.joint_dim=64")
    first = known(*pair)
    assert [each.tensors for each in first] == [SMALL, SMALL]
    assert [[r["experiment"]["model"]["joint_dim"] for r in request] for request in asked] == [[32, 64]]
    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(tensors, "_ask", refuse)
    assert known(*pair) == first


def test_equal_models_are_built_once(asked):
    known(spec(), spec("train.seed=5", "model.codebook.temperature=0.3", "name=other"))
    assert len(asked[0]) == 1


def test_recorded_tensors_are_left_as_they_are(asked):
    recorded = Known(tensors=SMALL)
    assert with_tensors([spec()], [recorded]) == [recorded]
    assert asked == []


def test_the_user_is_told_before_a_process_is_started(asked):
    said = []
    for _ in range(2):
        with_tensors([spec()], [Known()], said.append)
    assert len(said) == 1


@pytest.mark.parametrize("content", ["", "[", "{}", '[{"kind": 3}]', "[1]"])
def test_a_damaged_cache_is_ignored_and_written_again(content, asked, caches):
    known(spec())
    (file,) = caches.iterdir()
    file.write_text(content)
    assert known(spec())[0].tensors == SMALL
    assert len(asked) == 2
    assert known(spec())[0].tensors == SMALL
    assert len(asked) == 2


def test_a_cache_that_cannot_be_written_is_no_error(asked, tmp_path):
    (tmp_path / "caches").write_text("a file, no folder")
    assert known(spec())[0].tensors == SMALL


@pytest.mark.parametrize(
    ("overrides", "another"),
    [
        (["model.joint_dim=32"], True),
        (["model.temperature.learned=false"], True),
        (["objectives.matching.weight=0", "evaluate=[]"], True),
        (["objectives.matching.weight=2"], False),
        (["train.optimizer.lr=1e-3"], False),
        (["model.teacher.momentum=0.9"], False),
    ],
)
def test_the_settings_that_shape_the_model_decide(overrides, another):
    assert (shaping_settings(spec(*overrides)) != shaping_settings(spec())) == another


def test_another_version_or_another_configuration_builds_again(asked, monkeypatch, tmp_path):
    (tmp_path / "bert").mkdir()
    experiment = spec("model.text={init: random, architecture: ./bert}")
    known(experiment)
    (tmp_path / "bert/config.json").write_text("{}")
    known(experiment)
    monkeypatch.setattr(tensors, "_software", lambda: {"timm": "another"})
    known(experiment)
    assert len(asked) == 3


def test_a_vocabulary_from_the_captions_is_the_run_s_or_the_largest(asked):
    experiment = spec("model.text={init: random, tokenizer: captions, vocabulary: 900}")
    unknown, counted = with_tensors([experiment, experiment], [Known(), Known(vocabulary=321)])
    assert [request["vocabulary"] for request in asked[0]] == [900, 321]
    assert (unknown.largest_vocabulary, counted.largest_vocabulary) == (900, None)


def test_without_torch_the_user_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(tensors, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", refuse)
    (each,) = known(spec())
    assert (each.tensors, each.no_tensors) == (None, NO_TORCH)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (subprocess.TimeoutExpired("python", 5), "took more than"),
        (
            subprocess.CalledProcessError(1, "python", stderr="Traceback\nImportError: no timm\n"),
            "ImportError: no timm",
        ),
        (subprocess.CalledProcessError(-9, "python", stderr=""), "exit code -9"),
        (OSError("no more processes"), "no more processes"),
    ],
)
def test_a_process_that_fails_is_a_reason_not_an_error(failure, reason, monkeypatch):
    def fail(*arguments, **options):
        raise failure

    monkeypatch.setattr(subprocess, "run", fail)
    (each,) = known(spec())
    assert each.tensors is None
    assert reason in each.no_tensors


@pytest.mark.parametrize("answer", ["", "[]", "[1]", '[{"tensors": 5}]', '[{"error": "unknown architecture"}]'])
def test_an_answer_without_a_table_is_a_reason_and_is_not_kept(answer, monkeypatch, caches):
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, answer, ""))
    (each,) = known(spec())
    assert each.tensors is None
    assert each.no_tensors
    assert not caches.exists()


def test_the_header_of_a_checkpoint_is_completed_by_the_record(tmp_path):
    save_file({"student.x": np.zeros((2, 3), np.float32), "student.text.y": np.zeros(4, np.int64)}, tmp_path / MODEL)
    table = read_tensors(tmp_path).described_by(SMALL)
    assert table.tensors["student.x"] == SMALL.tensors["student.x"]
    assert table.tensors["student.text.y"] == TensorInfo((4,), 8, "student.text")
    assert (table.bytes, table.trainable_parameters) == (2 * 3 * 4 + 4 * 8, None)


def test_diff_imports_no_torch_and_says_which_tensors_differ(caches):
    Path("b.yaml").write_text("extends: quickstart\nmodel: {codebook: {size: 128}}\n")
    Path("c.yaml").write_text("extends: quickstart\nmodel: {vision: {architecture: no_such_transformer}}\n")
    code = (
        "import sys\nfrom cbalign.cli import main\n"
        "try: main(['diff', 'quickstart', 'b.yaml', 'c.yaml', '--json'])\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stderr.splitlines()[-1] == "False"
    derived = {each["name"]: each for each in json.loads(done.stdout)["derived"]}
    whole, smaller, unknown = derived["trainable parameters"]["values"]
    assert whole - smaller == (1024 - 128) * 512
    assert unknown is None
    assert len(list(caches.iterdir())) == 2
