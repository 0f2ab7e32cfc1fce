"""What a shell offers, through the environment by which the scripts of shells ask."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cbalign.cli import VERBS


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(
        "cbalign: 1\nname: x\ndata: {train: {source: openmoji, split: train}}\nprofiles: {debug: {}, big: {}}\n"
    )
    for path in ("specs/deep/a.yml", ".hidden/b.yaml", "runs/mine-1/manifest.json", "notes.txt"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()


def offered(*words, shell="bash"):
    """The offers for the last of the words."""
    command = [sys.executable, "-m", "cbalign"]
    asked = {"COMP_WORDS": " ".join(["cbalign", *words]), "COMP_CWORD": str(len(words))}
    variables = {**os.environ, **asked, "_CBALIGN_COMPLETE": f"{shell}_complete"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
    assert done.stderr == ""
    return [line.split(",", 1)[1] for line in done.stdout.splitlines() if line]


def test_verbs_are_those_of_the_table():
    assert offered("") == [verb.name for verb in VERBS]
    assert offered("valid") == ["validate"]


def test_specs_are_files_near_and_recipes_and_nothing_hidden():
    found = offered("validate", "")
    assert {"mine.yaml", "specs/deep/a.yml", "quickstart"} <= set(found)
    assert not {".hidden/b.yaml", "notes.txt"} & set(found)
    assert offered("validate", "specs/") == ["specs/deep/a.yml"]
    assert offered("cp", "quick") == ["quickstart"]


def test_runs_are_offered_where_a_run_is_wanted():
    assert offered("evaluate", "") == ["runs/mine-1"]
    assert offered("train", "runs/") == ["runs/mine-1"]
    assert offered("export", "runs/m") == ["runs/mine-1"]
    for verb in ("benchmark", "search", "serve", "verify"):
        assert offered(verb, "") == ["runs/mine-1"]


@pytest.mark.parametrize("verb", ["show", "rerun", "compare", "remove"])
def test_runs_are_offered_by_name_too(verb):
    assert offered("runs", verb, "") == ["latest", "mine-1"]
    assert offered("runs", verb, "m") == ["mine-1"]
    assert offered("runs", verb, "runs/m") == ["runs/mine-1"]
    assert offered("runs", verb, "--runs-dir", "elsewhere", "") == ["latest"]


def test_settings_are_offered_by_their_paths():
    assert offered("explain", "train.optimizer.text") == ["train.optimizer.text_lr_scale"]
    assert offered("show", "mine.yaml", "--set", "train.see") == ["train.seed="]
    assert offered("show", "mine.yaml", "--set", "+export.p") == ["+export.precisions="]
    assert offered("show", "mine.yaml", "--set", "+ev") == ["+evaluate="]
    assert offered("show", "mine.yaml", "--set", "~model.text.voc") == ["~model.text.vocabulary"]


def test_values_are_offered_though_bash_breaks_words_at_the_equals_sign():
    assert offered("show", "mine.yaml", "--set", "train.precision", "=") == ["auto", "fp32", "bf16"]
    assert offered(
        "show", "mine.yaml", "--set", "train.seed", "=", "3", "--set", "data.augmentation.flip", "=", "t"
    ) == ["true"]
    assert offered("show", "mine.yaml", "--set", "train.clip_norm", "=") == ["null"]


def test_lists_of_values_go_on_after_each_comma():
    for words in (("sweep", "mine.yaml", "--over"), ("sweep", "mine.yaml", "--paired"), ("runs", "list", "--where")):
        assert offered(*words, "train.prec") == ["train.precision="]
        assert offered(*words, "train.precision", "=", "b") == ["bf16"]
    assert offered("sweep", "mine.yaml", "--over", "train.precision", "=", "fp32,b") == ["fp32,bf16"]


def test_diff_offers_effect_classes_and_paths():
    assert offered("diff", "a", "b", "--only", "archi") == ["architecture"]
    assert offered("diff", "a", "b", "--ignore", "model.queue") == ["model.queue", "model.queue.length"]


def test_plan_offers_the_gpus_that_it_knows():
    assert offered("plan", "mine.yaml", "--gpu", "a100") == ["a100-40gb", "a100-80gb"]
    assert offered("plan", "mine.yaml", "--fit", "l4") == ["l4", "l40s"]


def test_profiles_are_those_of_the_spec():
    assert offered("show", "mine.yaml", "--profile", "") == ["debug", "big"]
    Path("mine.yaml").write_text("{")
    assert offered("show", "mine.yaml", "--profile", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_on_stdout_alone(shell):
    done = subprocess.run([sys.executable, "-m", "cbalign", "completion", shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_CBALIGN_COMPLETE={shell}_complete" in done.stdout


def test_bash_runs_the_script():
    script = subprocess.run(
        [sys.executable, "-m", "cbalign", "completion", "bash"], capture_output=True, text=True, check=True
    ).stdout
    Path("bin").mkdir()
    Path("bin/cbalign").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cbalign "$@"\n')
    Path("bin/cbalign").chmod(0o755)
    drive = (
        "PATH=$PWD/bin:$PATH\ncompopt() { echo nospace; }\nCOMP_WORDS=(cbalign show x --set train.see) COMP_CWORD=4\n"
        '_cbalign_completion cbalign\necho "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", script + drive], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["nospace", "train.seed="]


@pytest.mark.parametrize("words", [["validate", ""], ["explain", "train."], ["show", "x", "--set", "a"], ["ev"]])
def test_completing_imports_nothing_heavy(words):
    code = (
        "import sys\nfrom cbalign.cli import main\n"
        "try: main([])\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    asked = {"COMP_WORDS": " ".join(["cbalign", *words]), "COMP_CWORD": str(len(words))}
    variables = {**os.environ, **asked, "_CBALIGN_COMPLETE": "bash_complete"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=variables)
    assert not {"torch", "numpy", "onnxruntime", "rich"} & set(done.stderr.split())
