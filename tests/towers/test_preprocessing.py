"""cbalign's preprocessing against the transforms and processors of timm and transformers, on drawn pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image, ImageDraw, ImageFilter

from cbalign.data.image import CLIP_MEAN, CLIP_STD, Preprocessing, prepare
from cbalign.errors import CheckpointError
from cbalign.experiment.model import ModelSection
from cbalign.models.huggingface_preprocessing import of_processor
from cbalign.models.preprocessing import preprocessing_of
from cbalign.models.timm_trunk import Architecture
from tests.towers.conftest import SIZE, TIMM, Spec

LEVEL = 1 / 255


def picture(width: int, height: int) -> Image.Image:
    """Shapes, edges and a soft gradient: what resizing filters differ in."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = Image.fromarray(np.stack([across, down, 255 - across], axis=2).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for step in range(0, width, 9):
        draw.line((step, 0, width - step, height), fill=(step % 256, 40, 200), width=2)
    draw.ellipse((width // 4, height // 4, width // 2, height // 2), fill=(250, 230, 20))
    return image.filter(ImageFilter.GaussianBlur(0.7))


PICTURES = [picture(*size) for size in ((300, 200), (181, 333), (64, 64), (47, 30), (500, 120))]


def normalised(image: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    pixels = torch.from_numpy(prepare(image, preprocessing).copy()).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (pixels - mean) / std


@pytest.mark.parametrize(
    "name",
    [
        "deit_base_patch16_224.fb_in1k",
        "vit_base_patch16_224.augreg_in21k",
        "vit_base_patch16_siglip_256.webli",
        "vit_base_patch16_clip_224.openai",
        "vit_small_patch14_reg4_dinov2.lvd142m",
        "vit_small_patch16_dinov3.lvd1689m",
        "convnext_atto.d2_in1k",
        "swin_tiny_patch4_window7_224.ms_in1k",
        "tf_efficientnet_lite0.in1k",
    ],
)
def test_it_is_timms_evaluation_transform(name: str) -> None:
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    theirs: Any = timm.data.create_transform(**config, is_training=False)
    ours = Architecture.find(name).preprocessing(config["input_size"][-1])
    for image in PICTURES:
        assert (normalised(image, ours) - theirs(image)).abs().max() <= 1e-5


SQUARE, SHORTEST = {"height": 48, "width": 48}, {"shortest_edge": 48}
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "clip": ("CLIPImageProcessor", {"size": SHORTEST, "crop_size": SQUARE}),
    "siglip": ("SiglipImageProcessor", {"size": SQUARE}),
    "vit": ("ViTImageProcessor", {"size": SQUARE}),
    "deit": ("DeiTImageProcessor", {"size": {"height": 56, "width": 56}, "crop_size": SQUARE}),
    "dinov2": ("BitImageProcessor", {"size": {"shortest_edge": 56}, "crop_size": SQUARE}),
    "convnext": ("ConvNextImageProcessor", {"size": SHORTEST, "crop_pct": 0.875}),
    "convnext, large": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    "beit": ("BeitImageProcessor", {"size": SQUARE, "do_center_crop": False}),
    "unnormalised": ("ViTImageProcessor", {"size": SQUARE, "do_normalize": False}),
}


@pytest.mark.parametrize("backend", ["Pil", ""])
@pytest.mark.parametrize("name", PROCESSORS)
def test_it_is_the_processor_of_transformers(name: str, backend: str) -> None:
    kind, settings = PROCESSORS[name]
    processor = getattr(transformers, f"{kind}{backend}")(**settings)
    size = 384 if name == "convnext, large" else 48
    ours = of_processor(processor, size, name)
    # torchvision resizes tensors of uint8 in fixed point: up to two levels away from Pillow at sharp edges.
    limit, usual = (1e-5, 1e-6) if backend else (2.01 * LEVEL, 0.1 * LEVEL)
    for image in PICTURES:
        if half_pixel(image, ours):
            continue
        theirs = processor(image, return_tensors="pt")["pixel_values"][0]
        difference = (normalised(image, ours) - theirs).abs() * min(ours.std)
        assert difference.max() <= limit, float(difference.max() / LEVEL)
        assert difference.mean() <= usual, float(difference.mean() / LEVEL)


def half_pixel(image: Image.Image, preprocessing: Preprocessing) -> bool:
    """Whether the centre lies between pixels: there transformers rounds down, and torchvision, timm and we to even."""
    longer = int(preprocessing.scaled_size * max(image.size) / min(image.size))
    margins = (longer - preprocessing.size, preprocessing.scaled_size - preprocessing.size)
    return preprocessing.fit == "crop" and any(margin % 2 for margin in margins)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"do_resize": False}, "resizes images to"),
        ({"rescale_factor": 1 / 127.5}, "scales pixels by"),
        ({"size": {"shortest_edge": 48}}, "not square"),
        ({"size": {"longest_edge": 48}}, "resizes images to"),
    ],
)
def test_a_processor_that_does_something_else_is_refused(settings: dict[str, Any], message: str) -> None:
    processor = transformers.ViTImageProcessor(**({"size": SQUARE} | settings))
    with pytest.raises(CheckpointError, match=message) as refused:
        of_processor(processor, 48, "somewhere")
    assert "model.vision.preprocessing" in str(refused.value.remedy)


def built(**vision: Any) -> Preprocessing:
    return preprocessing_of(ModelSection.model_validate({"vision": vision}).vision.build(False))


def test_weights_bring_their_own_and_single_parts_can_be_changed(image_tower_specs: dict[str, Spec]) -> None:
    spec = image_tower_specs["hf-dinov2"]
    assert built(**spec) == Preprocessing(
        SIZE, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), "bicubic", "crop", 0.8
    )
    changed = built(**spec, preprocessing={"like": "weights", "fit": "squash", "interpolation": "lanczos", "crop": 1.0})
    assert (changed.fit, changed.resample, changed.crop) == ("squash", "lanczos", 1.0)
    half = built(**image_tower_specs["siglip"])
    assert (half.mean, half.std) == ((0.5,) * 3, (0.5,) * 3)


def test_random_towers_have_albefs(image_tower_specs: dict[str, Spec]) -> None:
    for spec in (image_tower_specs["hf-siglip"], image_tower_specs["siglip"]):
        assert built(**spec, init="random") == Preprocessing(SIZE, CLIP_MEAN, CLIP_STD)
        assert built(**spec, preprocessing={"like": "albef"}) == Preprocessing(SIZE, CLIP_MEAN, CLIP_STD)


def test_a_model_without_processor_is_one_message(image_tower_specs: dict[str, Spec], tmp_path: Path) -> None:
    transformers.ViTModel.from_pretrained(image_tower_specs["hf-vit"]["architecture"]).save_pretrained(tmp_path)
    spec = {"kind": "huggingface", "architecture": str(tmp_path), "image_size": SIZE}
    with pytest.raises(CheckpointError, match=r"model\.vision\.preprocessing: .* has no preprocessor_config\.json"):
        built(**spec)
    assert built(**spec, preprocessing={"like": "albef"}).mean == CLIP_MEAN


@pytest.mark.parametrize("name", TIMM)
def test_a_folder_of_timm_says_its_own(name: str, image_tower_specs: dict[str, Spec]) -> None:
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(TIMM[name][0]).to_dict())
    ours = built(**image_tower_specs[name])
    assert (ours.mean, ours.std, ours.resample) == (config["mean"], config["std"], config["interpolation"])
