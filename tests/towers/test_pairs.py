"""Any image tower with any text tower: trained, evaluated and exported with parity, or built and run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from cbalign.data.published_tokenizer import read_published
from cbalign.data.text import TextSettings
from cbalign.experiment.experiment import Experiment
from cbalign.models.build import build_towers
from tests.cli.tiny import cbalign
from tests.towers.texts import TEXTS, make_text

TEXT_FAMILIES = (
    "bert",
    "distilbert",
    "roberta",
    "mpnet",
    "xlm-roberta",
    "modernbert",
    "clip",
    "siglip",
    "siglip2",
    "t5",
)
IMAGE_FAMILIES = (
    "vit", "registers", "siglip", "dinov3", "eva", "convnext", "swin", "efficientnet", "hf-clip", "hf-siglip",
)  # fmt: skip
PAIRS = tuple(zip(IMAGE_FAMILIES, TEXT_FAMILIES, strict=True))
WITHOUT_MASK = ("clip", "siglip", "t5")

Spec = dict[str, Any]


@pytest.fixture(scope="module")
def text_tower_specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Spec]:
    """A `model.text` for each family of text towers."""
    root = tmp_path_factory.mktemp("paired-texts")
    return {name: make_text(name, root / name) for name in TEXT_FAMILIES}


def model(vision: Spec, text: Spec) -> Spec:
    return {
        "vision": vision,
        "text": text,
        "fusion": {"layers": 1},
        "joint_dim": 8,
        "codebook": {"size": 6},
        "queue": {"length": 8},
    }


def write_experiment(folder: Path, vision: Spec, text: Spec, masked: bool) -> None:
    rows = ["image,caption"]
    for i in range(8):
        Image.new("RGB", (40, 40), (i * 30, 255 - i * 30, 7 * i)).save(folder / f"{i}.png")
        rows.append(f'{i}.png,"{TEXTS[i % 3]} {i}"')
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    source = {"source": "csv", "files": ["pairs.csv"]}
    spec = {
        "cbalign": 1,
        "name": "pair",
        "model": model(vision, text),
        "objectives": {} if masked else {"masked_language": {"weight": 0}},
        "data": {"train": source, "validation": source},
        "evaluate": [{"kind": "retrieval", "on": "validation", "protocols": ["dual", "rerank"], "top_k": 4}],
        "train": {
            "duration": "2 steps",
            "batch_size": 4,
            "global_batch_size": 4,
            "precision": "fp32",
            "device": "cpu",
            "schedule": {"kind": "cosine", "warmup": "1 step"},
        },
        "export": {"opset": 23},
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))


@pytest.mark.slow
@pytest.mark.parametrize(("image", "text"), PAIRS)
def test_a_pair_is_trained_evaluated_and_exported_with_parity(
    image: str,
    text: str,
    image_tower_specs: dict[str, Spec],
    text_tower_specs: dict[str, Spec],
    tmp_path: Path,
) -> None:
    write_experiment(tmp_path, image_tower_specs[image], text_tower_specs[text], text not in WITHOUT_MASK)
    trained = cbalign(tmp_path, "train", "spec.yaml")
    assert trained.code == 0, trained.stderr
    exported = cbalign(tmp_path, "export", "runs/latest", "--output", "bundle")
    assert exported.code == 0, exported.stderr
    on_both = [cbalign(tmp_path, "evaluate", which, "--json") for which in ("runs/latest", "bundle")]
    assert [each.code for each in on_both] == [0, 0], on_both[1].stderr
    assert (tmp_path / "bundle" / "fp32" / "match.onnx").is_file()


@torch.no_grad()
@pytest.mark.parametrize("text", TEXT_FAMILIES)
def test_every_pair_of_towers_meets_in_fusion_layers_and_joint_space(
    text: str, image_tower_specs: dict[str, Spec], text_tower_specs: dict[str, Spec]
) -> None:
    section = text_tower_specs[text]
    tokenizer = read_published(section["architecture"], "model.text.architecture", TextSettings(16, 10**6))
    tokens = tokenizer.encode(TEXTS[:2])
    ids, mask = torch.from_numpy(tokens.input_ids), torch.from_numpy(tokens.attention_mask)
    for image in IMAGE_FAMILIES:
        spec = {
            "cbalign": 1,
            "name": "pair",
            "model": model(image_tower_specs[image], section),
            "data": {"train": {"source": "csv", "files": ["pairs.csv"]}},
            "objectives": {"masked_language": {"weight": 0}},
        }
        experiment = Experiment.model_validate_json(json.dumps(spec))
        towers = build_towers(experiment.model, tokenizer.vocabulary_size, fusion=True, initialise=True).eval()
        side = towers.vision.image_size
        image_tokens = towers.vision(torch.randint(256, (2, 3, side, side), dtype=torch.uint8))
        text_tokens = towers.text(ids, mask)
        assert towers.embed_images(image_tokens).shape == towers.embed_texts(text_tokens, mask).shape == (2, 8)
        assert towers.fusion is not None
        fused = towers.fusion(text_tokens, mask, towers.fusion.read_images(image_tokens))
        assert fused.shape == (*ids.shape, towers.fusion.width)
        assert fused.isfinite().all(), (image, text)
