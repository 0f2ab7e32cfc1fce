"""Image towers in trainings: from the spec to a run that records its preprocessing, and to a bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import cbalign
from cbalign.data.image import Preprocessing
from cbalign.experiment.dump import experiment_fingerprint
from cbalign.experiment.load import load_experiment
from cbalign.models.tower import VisionTower
from tests.cli.tiny import SPEC, write_experiment
from tests.towers.conftest import IMAGE_TOWERS, SIZE, Spec
from tests.towers.test_image_towers import build

OLD_VISION = (
    "{architecture: vit_tiny_patch16_224, image_size: 16, patch_size: 8, layers: 1, width: 16, heads: 2, init: random}"
)


def write_spec(folder: Path, vision: str, name: str = "spec.yaml") -> Path:
    assert OLD_VISION in SPEC
    file = folder / name
    file.write_text(SPEC.replace(OLD_VISION, vision), encoding="utf-8")
    return file


def flow(spec: Spec) -> str:
    return json.dumps(spec)


@pytest.mark.parametrize("name", ["efficientnet", "hf-dinov2"])
def test_a_run_needs_no_folder_of_weights_to_know_its_preprocessing(
    name: str, image_tower_specs: dict[str, Spec], tmp_path: Path
) -> None:
    write_experiment(tmp_path)
    source = tmp_path / "weights"
    shutil.copytree(image_tower_specs[name]["architecture"], source)
    vision = {**image_tower_specs[name], "architecture": str(source)}
    run = cbalign.train(cbalign.spec(write_spec(tmp_path, flow(vision))), runs=tmp_path / "runs", progress=False)
    (source / "preprocessor_config.json").unlink(missing_ok=True)
    recorded = load_experiment(run.path / "resolved.yaml", check_files=False).experiment.model.vision.preprocessing
    assert recorded.is_complete
    expected = build(image_tower_specs[name], initialise=False).preprocessing
    assert cbalign.load(run.path)._preprocessing == expected
    assert expected != Preprocessing(SIZE)
    bundle = cbalign.export(run.path, output=tmp_path / "bundle")
    assert cbalign.load(bundle.path)._preprocessing == expected


@pytest.mark.parametrize("init", ["pretrained", "random"])
def test_resolved_specs_of_earlier_versions_keep_clips_statistics(init: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("")
    vision = OLD_VISION.replace("init: random", f"init: {init}, drop_path: 0, stem: patches")
    old = load_experiment(write_spec(tmp_path, vision, "old.yaml"), check_files=False).experiment
    assert old.model.vision.preprocessing.like == "albef"
    short = f"{{architecture: vit_tiny_patch16_224, image_size: 16, init: {init}}}"
    new = load_experiment(write_spec(tmp_path, short), check_files=False).experiment
    assert new.model.vision.preprocessing.like == ("albef" if init == "random" else "weights")
    written = short.replace("}", ", preprocessing: albef}")
    same = load_experiment(write_spec(tmp_path, written), check_files=False).experiment
    assert (experiment_fingerprint(same) == experiment_fingerprint(new)) is (init == "random")


@pytest.mark.parametrize(
    ("architecture", "pooling"),
    [
        ("vit_base_patch16_224", "trunk"),
        ("deit_tiny_distilled_patch16_224", "cls"),
        ("eva_large_patch14_196", "cls"),
        ("vit_base_patch16_siglip_224", "trunk"),
    ],
)
def test_vits_of_earlier_versions_keep_their_pooling(architecture: str, pooling: str, tmp_path: Path) -> None:
    file = write_spec(tmp_path, f"{{architecture: {architecture}, image_size: 224}}")
    assert load_experiment(file, check_files=False).experiment.model.vision.pooling == pooling


class Graph(nn.Module):
    """Tokens and pooled vector of uint8 images, as a bundle has them."""

    def __init__(self, tower: VisionTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.tower(pixels.permute(0, 3, 1, 2))
        return tokens, self.tower.pool(tokens)


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGE_TOWERS)
def test_its_graph_is_exported(name: str, image_tower_specs: dict[str, Spec], tmp_path: Path) -> None:
    graph = Graph(build(image_tower_specs[name])).eval()
    few, more = (torch.randint(256, (count, SIZE, SIZE, 3), dtype=torch.uint8) for count in (2, 5))
    file = tmp_path / "image.onnx"
    batch: Any = {0: torch.export.Dim("batch", min=1, max=64)}
    torch.onnx.export(graph, (few,), file, dynamo=True, dynamic_shapes=(batch,), input_names=["pixels"])
    found = onnxruntime.InferenceSession(file).run(None, {"pixels": more.numpy()})
    with torch.no_grad():
        expected = graph(more)
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4, rtol=1e-4)
