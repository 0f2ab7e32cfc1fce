"""Small models with random weights in the hub's layout, one for each family of image towers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from timm.models import save_for_hf
from torch import nn

from tests.towers.pictures import write_pictures

Spec = dict[str, Any]
SIZE = 32

TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}),
    "distilled": ("deit_tiny_distilled_patch16_224", {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}),
    "registers": ("vit_small_patch14_reg4_dinov2", {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}),
    "siglip": ("vit_base_patch16_siglip_224", {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}),
    "average": ("vit_so150m_patch16_reg4_gap_256", {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}),
    "dinov3": ("vit_small_patch16_dinov3", {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}),
    "eva": ("eva02_tiny_patch14_224", {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 2}),
    "convnext": ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 8, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4},
    ),
    "efficientnet": ("test_efficientnet", {}),
    "mobilenet": ("mobilenetv3_small_050", {}),
}
"""Name of timm's model, and arguments that make it small."""

_SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_VIT = {**_SIZES, "image_size": SIZE, "patch_size": 8}
_TEXT = {**_SIZES, "vocab_size": 99, "max_position_embeddings": 16}
_MAPS = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]}


def _huggingface() -> dict[str, tuple[transformers.PretrainedConfig, str, dict[str, Any]]]:
    """Configuration, image processor and its settings."""
    t = transformers
    clip = t.CLIPConfig(text_config=_TEXT, vision_config=_VIT, projection_dim=16)
    siglip = t.SiglipConfig(text_config=_TEXT, vision_config=_VIT)
    beit = t.BeitConfig(**_VIT, use_relative_position_bias=True)
    registers = t.Dinov2WithRegistersConfig(**_VIT, num_register_tokens=3)
    larger = {"height": 40, "width": 40}
    square, shortest = {"height": SIZE, "width": SIZE}, {"shortest_edge": SIZE}
    cropped = {"size": {"shortest_edge": 40}, "crop_size": square}
    return {
        "hf-clip": (clip, "CLIPImageProcessor", {"size": shortest, "crop_size": square}),
        "hf-siglip": (siglip, "SiglipImageProcessor", {"size": square}),
        "hf-vit": (t.ViTConfig(**_VIT), "ViTImageProcessor", {"size": square}),
        "hf-deit": (t.DeiTConfig(**_VIT), "DeiTImageProcessor", cropped | {"size": larger}),
        "hf-beit": (beit, "BeitImageProcessor", {"size": square, "do_center_crop": False}),
        "hf-dinov2": (t.Dinov2Config(**_VIT), "BitImageProcessor", cropped),
        "hf-registers": (registers, "BitImageProcessor", cropped),
        "hf-dinov3": (t.DINOv3ViTConfig(**_VIT, num_register_tokens=4), "DINOv3ViTImageProcessor", {"size": square}),
        "hf-dinov3-convnext": (t.DINOv3ConvNextConfig(**_MAPS), "DINOv3ViTImageProcessor", {"size": square}),
        "hf-convnext": (t.ConvNextConfig(**_MAPS), "ConvNextImageProcessor", {"size": shortest}),
        "hf-swin": (
            t.SwinConfig(image_size=SIZE, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4),
            "ViTImageProcessor",
            {"size": square},
        ),
    }


HUGGINGFACE = tuple(_huggingface())
IMAGE_TOWERS = (*TIMM, *HUGGINGFACE)


@torch.no_grad()
def spread_weights(model: nn.Module) -> None:
    """Give every parameter a value other than zero or one, so that a part that is left out is noticed."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if not parameter.isfinite().all() or parameter.abs().max() > 100:
            parameter.zero_()  # memory that nothing initialised
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def make_timm(name: str, folder: Path, size: int = SIZE) -> Spec:
    """Write a model of timm with random weights, and return a `model.vision` that starts from it."""
    architecture, settings = TIMM[name]
    torch.manual_seed(0)
    try:
        model = timm.create_model(architecture, num_classes=3, img_size=size, **settings)
    except TypeError:
        model = timm.create_model(architecture, num_classes=3, **settings)
    spread_weights(model)
    save_for_hf(model, folder, model_args=settings, safe_serialization=True)
    return {"kind": "timm", "architecture": str(folder), "image_size": size}


def make_huggingface(name: str, folder: Path) -> Spec:
    """Write a model of transformers with random weights, and return a `model.vision` that starts from it."""
    config, processor, settings = _huggingface()[name]
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config)
    spread_weights(model)
    model.save_pretrained(folder)
    getattr(transformers, processor)(**settings).save_pretrained(folder)
    return {"kind": "huggingface", "architecture": str(folder), "image_size": SIZE}


@pytest.fixture(scope="session")
def image_tower_specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Spec]:
    """A `model.vision` for each family of image towers: small, with random weights in a folder in the hub's layout."""
    root = tmp_path_factory.mktemp("image-towers")
    makers: dict[str, Callable[[str, Path], Spec]] = dict.fromkeys(TIMM, make_timm)
    makers |= dict.fromkeys(HUGGINGFACE, make_huggingface)
    return {name: make(name, root / name) for name, make in makers.items()}


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The folder of kept features of this test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CBALIGN_CACHE", str(folder))
    return folder / "features"


@pytest.fixture
def pictures(tmp_path, cache) -> Path:
    """A folder with pictures, lists and specs."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    return write_pictures(folder)
