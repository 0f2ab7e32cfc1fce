"""The recipes of methods, made tiny: each trains two steps and is evaluated."""

from __future__ import annotations

import json

import pytest

from cbalign.experiment.recipes import recipes_folder
from tests.cli.tiny import cbalign

TINY = (
    "model.vision={image_size: 16, patch_size: 8, layers: 1, width: 16, heads: 2}",
    "model.text={architecture: bert-mini, init: random, tokenizer: captions, vocabulary: 100, layers: 1, width: 16, "
    "heads: 2, intermediate: 16}",
    "model.fusion.layers=1",
    "model.joint_dim=8",
    "model.codebook.size=6",
    "train={duration: 2 steps, batch_size: 4, device: cpu, precision: fp32, evaluate_every: null}",
    *(
        f"data.{split}={{source: scenes, split: {split}, size: 9, render_size: 16}}"
        for split in ("train", "validation", "test")
    ),
)
RECIPES = (
    "clip",
    "siglip",
    "moco-clip",
    "xvlm",
    "albef",
    "scratch",
    "marginals",
    "dino",
    "vq",
    "fsq",
    "prototypes",
    "tcl",
    "token-transport",
)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_recipe_trains_and_is_evaluated(tmp_path, recipe):
    changes = (f"--set={change}" for change in TINY)
    trained = cbalign(tmp_path, "train", str(recipes_folder() / f"{recipe}.yaml"), *changes)
    assert trained.code == 0, trained.stderr
    run = tmp_path / trained.stdout.strip()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any(line["kind"] == "train" and line["loss"] > 0 for line in lines)
    found = cbalign(tmp_path, "evaluate", str(run), "--on", "test", "--bootstrap", "0", "--json")
    assert found.code == 0, found.stderr
