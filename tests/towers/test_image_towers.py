"""Image towers of every family against timm and transformers themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers

from cbalign.errors import CheckpointError, SpecError
from cbalign.experiment.model import ModelSection
from cbalign.models.tower import VisionTower
from cbalign.models.vision import TimmVisionTower
from tests.towers.conftest import HUGGINGFACE, IMAGE_TOWERS, SIZE, TIMM, Spec

PREFIX = {"vit": 1, "distilled": 2, "registers": 5, "average": 4, "dinov3": 5, "eva": 1}
PREFIX |= {"hf-clip": 1, "hf-vit": 1, "hf-deit": 2, "hf-beit": 1, "hf-dinov2": 1, "hf-registers": 4, "hf-dinov3": 5}
PREFIX |= {"hf-dinov3-convnext": 1}


def build(spec: Spec, initialise: bool = True, **changes: Any) -> VisionTower:
    section = ModelSection.model_validate({"vision": {**spec, **changes}}).vision
    tower: VisionTower = section.build(initialise)
    return tower.eval()


def pixels(size: int = SIZE) -> torch.Tensor:
    return torch.randint(256, (3, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def normalised(tower: VisionTower, images: torch.Tensor) -> torch.Tensor:
    return (images.float() / 255 - tower.mean) / tower.std


@pytest.mark.parametrize("name", TIMM)
@torch.no_grad()
def test_the_pooled_vector_is_that_of_timm(name: str, image_tower_specs: dict[str, Spec]) -> None:
    spec = image_tower_specs[name]
    tower = build(spec)
    theirs = timm.create_model(f"local-dir:{spec['architecture']}", pretrained=True, num_classes=0).eval()
    expected = theirs(normalised(tower, pixels()))
    tokens = tower(pixels())
    assert tokens.shape[2] == tower.width
    assert (tower.pool(tokens) - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)
    assert tower.pooled_width == expected.shape[1]


@pytest.mark.parametrize("name", HUGGINGFACE)
@torch.no_grad()
def test_the_pooled_vector_is_that_of_transformers(name: str, image_tower_specs: dict[str, Spec]) -> None:
    spec = image_tower_specs[name]
    tower = build(spec)
    model = transformers.AutoModel.from_pretrained(spec["architecture"]).eval()
    output = getattr(model, "vision_model", model)(pixel_values=normalised(tower, pixels()))
    tokens = tower(pixels())
    last = output.last_hidden_state
    expected = last.flatten(2).transpose(1, 2) if last.ndim == 4 else last
    assert (tokens - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)
    assert (tower.pool(tokens) - output.pooler_output).abs().max() <= 1e-5


@pytest.mark.parametrize("name", IMAGE_TOWERS)
@torch.no_grad()
def test_the_mean_is_over_patches_only(name: str, image_tower_specs: dict[str, Spec]) -> None:
    tower = build(image_tower_specs[name], pooling="mean")
    prefix = PREFIX.get(name, 0)
    tokens = tower(pixels())
    assert tower.prefix_tokens == prefix
    assert round((tokens.shape[1] - prefix) ** 0.5) ** 2 == tokens.shape[1] - prefix
    assert torch.equal(tower.pool(tokens), tokens[:, prefix:].mean(dim=1))
    assert tower.pool(tokens).shape[1] == tower.pooled_width


@pytest.mark.parametrize("name", ["siglip", "average", "convnext", "swin", "hf-siglip", "hf-swin", "hf-convnext"])
def test_a_class_token_that_the_trunk_lacks_is_refused(name: str, image_tower_specs: dict[str, Spec]) -> None:
    with pytest.raises(SpecError, match=r"model\.vision\.pooling: cls, but .* has no class token") as refused:
        build(image_tower_specs[name], pooling="cls")
    assert "pooling to trunk or mean" in str(refused.value.remedy)


@pytest.mark.parametrize("name", ["vit", "convnext", "hf-clip"])
def test_attention_pooling_that_the_trunk_lacks_is_refused(name: str, image_tower_specs: dict[str, Spec]) -> None:
    with pytest.raises(SpecError, match=r"model\.vision\.pooling: map, but .* has no attention pooling"):
        build(image_tower_specs[name], pooling="map")


@pytest.mark.parametrize("name", ["siglip", "hf-siglip"])
@torch.no_grad()
def test_attention_pooling_is_the_trunks(name: str, image_tower_specs: dict[str, Spec]) -> None:
    of_map, of_trunk = (build(image_tower_specs[name], pooling=how) for how in ("map", "trunk"))
    tokens = of_map(pixels())
    assert torch.equal(of_map.pool(tokens), of_trunk.pool(tokens))


@pytest.mark.parametrize("name", [n for n in IMAGE_TOWERS if n != "hf-beit"])
@torch.no_grad()
def test_weights_serve_images_of_another_size(name: str, image_tower_specs: dict[str, Spec]) -> None:
    size = 64
    tower = build(image_tower_specs[name], image_size=size)
    tokens = tower(pixels(size))
    patches = build(image_tower_specs[name])(pixels()).shape[1] - tower.prefix_tokens
    assert tokens.shape[1] - tower.prefix_tokens == 4 * patches
    assert tower.pool(tokens).isfinite().all()


@pytest.mark.parametrize("name", ["hf-clip", "hf-siglip", "hf-vit", "hf-deit", "hf-dinov2", "hf-registers"])
@torch.no_grad()
def test_positions_are_interpolated_as_transformers_does(name: str, image_tower_specs: dict[str, Spec]) -> None:
    spec = image_tower_specs[name]
    tower = build(spec, image_size=64)
    model = transformers.AutoModel.from_pretrained(spec["architecture"]).eval()
    half = getattr(model, "vision_model", model)
    asked = {} if "dinov2" in name or "registers" in name else {"interpolate_pos_encoding": True}
    expected = half(pixel_values=normalised(tower, pixels(64)), **asked).last_hidden_state
    assert (tower(pixels(64)) - expected).abs().max() <= 1e-4


def test_weights_of_another_image_size_that_do_not_fit_are_refused(image_tower_specs: dict[str, Spec]) -> None:
    with pytest.raises(CheckpointError, match="relative_position_bias_table") as refused:
        build(image_tower_specs["hf-beit"], image_size=64)
    assert "image_size 32" in str(refused.value.remedy)


def test_weights_of_another_architecture_are_refused(image_tower_specs: dict[str, Spec]) -> None:
    specs = image_tower_specs
    with pytest.raises(CheckpointError, match=r"model\.vision\.init: .* has weights of convnext_atto"):
        build(specs["vit"], init=specs["convnext"]["architecture"])
    with pytest.raises(CheckpointError, match=r"does not fit model\.vision"):
        build(specs["hf-vit"], init=specs["hf-clip"]["architecture"])


def test_models_of_the_other_library_are_refused(image_tower_specs: dict[str, Spec]) -> None:
    with pytest.raises(CheckpointError, match="names no architecture of timm") as refused:
        build({**image_tower_specs["hf-vit"], "kind": "timm"})
    assert "kind: huggingface" in str(refused.value.remedy)
    with pytest.raises(CheckpointError, match="is not of transformers") as refused:
        build({**image_tower_specs["vit"], "kind": "huggingface"})
    assert "kind: timm" in str(refused.value.remedy)


@pytest.mark.parametrize("architecture", ["crossvit_9_240", "pit_ti_224"])
def test_a_trunk_that_gives_neither_tokens_nor_a_map_is_refused(architecture: str) -> None:
    with pytest.raises(SpecError, match=rf"model\.vision\.architecture: '{architecture}' gives"):
        TimmVisionTower(architecture, 240 if "240" in architecture else 224)


@pytest.mark.parametrize("setting", [{"width": 16, "heads": 2}, {"stem": "convolutions"}, {"layers": 1}])
def test_sizes_are_those_of_plain_vits(setting: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"model\.vision: "):
        TimmVisionTower("swin_tiny_patch4_window7_224", 224, **setting)


@pytest.mark.parametrize("kind", ["timm", "huggingface"])
def test_an_unreachable_hub_name_is_one_message(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"model\.vision\.architecture: 'nobody/nothing' is neither") as refused:
        build({"kind": kind, "architecture": "hf://nobody/nothing", "image_size": SIZE})
    assert "\n" not in refused.value.message


def test_a_text_model_is_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertModel(transformers.BertConfig(vocab_size=50, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(SpecError, match=r"model\.vision\.architecture: .* gives no tokens for images of 32 px"):
        build(
            {
                "kind": "huggingface",
                "architecture": str(tmp_path),
                "image_size": SIZE,
                "preprocessing": {"like": "albef"},
            }
        )
