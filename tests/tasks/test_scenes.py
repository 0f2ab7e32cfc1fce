"""The recipes on drawn scenes, made tiny: pretrain, fine-tune each task from that, evaluate both test splits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cbalign.engine.run import RunFolder
from cbalign.experiment.recipes import recipes_folder
from tests.cli.tiny import Result, cbalign

TINY = (
    "model.vision={image_size: 16, layers: 1, width: 16, heads: 2}",
    "model.text={layers: 1, width: 16, heads: 2, intermediate: 16, vocabulary: 100}",
    "model.fusion.layers=1",
    "model.joint_dim=8",
    "model.codebook.size=6",
    "model.queue.length=8",
    "data.train={size: 45, render_size: 16}",
    "data.validation={size: 9, render_size: 16}",
    "data.test={size: 9, render_size: 16}",
    "train={duration: 2 steps, batch_size: 4, device: cpu, evaluate_every: null}",
)
TASKS = {"retrieval": "dual", "vqa": "rank", "nlvr2": "accuracy", "entailment": "accuracy"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def pretrained(place: Path) -> RunFolder:
    return trained(place, "scenes")


def trained(place: Path, recipe: str) -> RunFolder:
    changes = (f"--set={change}" for change in TINY)
    result = cbalign(place, "train", str(recipes_folder() / f"{recipe}.yaml"), *changes)
    assert result.code == 0, result.stderr
    return RunFolder(place / result.stdout.strip())


def evaluated(place: Path, run: RunFolder, on: str) -> Result:
    return cbalign(place, "evaluate", str(run.folder), "--on", on, "--bootstrap", "0", "--json")


@pytest.mark.parametrize("task", TASKS)
def test_every_recipe_learns_from_the_pretrained_one_and_is_measured_on_both_test_splits(
    place: Path, pretrained: RunFolder, task: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CBALIGN_PRETRAINED", str(pretrained.folder))
    if task == "nlvr2":
        monkeypatch.setenv("CBALIGN_PRETRAINED", str(trained(place, "nlvr2-assignment-scenes").folder))
    run = trained(place, f"{task}-scenes")
    for split in ("test", "compositions"):
        result = evaluated(place, run, split)
        assert result.code == 0, result.stderr
        first = json.loads(result.stdout)["results"][0]
        assert (first["protocol"], first["split"], first["source"]) == (TASKS[task], split, f"scenes {split}")


def test_a_split_that_scenes_have_not_is_neither_a_split_nor_a_file(place: Path, pretrained: RunFolder):
    result = evaluated(place, pretrained, "composition")
    assert result.code == 2
    assert "neither a split nor a file" in result.stderr
