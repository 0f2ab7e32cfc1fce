"""Every tensor of the published sizes has its place, counted on the meta device."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from transformers import (
    AutoModel,
    BlipConfig,
    BlipForImageTextRetrieval,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    SiglipTextConfig,
    SiglipTextModel,
)

from cbalign.errors import CheckpointError
from cbalign.interop.checkpoints.blip import convert as convert_blip
from cbalign.interop.checkpoints.dual import DualEncoder, TowerForm
from cbalign.interop.checkpoints.format import ImportRequest
from cbalign.interop.checkpoints.open_clip import from_open_clip, from_openai
from cbalign.interop.checkpoints.open_clip_config import OpenClipConfig
from cbalign.interop.checkpoints.source import CheckpointSource
from cbalign.interop.checkpoints.tensors import Tensors

CONFIGS = Path(open_clip.__path__[0]) / "model_configs"
OWN = ["ViT-B-32", "ViT-B-16-quickgelu", "ViT-L-14-336", "ViT-H-14", "ViT-bigG-14", "ViT-B-16-plus-240"]
OF_TIMM = ["ViT-B-16-SigLIP", "ViT-SO400M-14-SigLIP-384", "ViT-B-16-SigLIP2-256", "EVA02-B-16", "convnext_base_w"]
REFUSED = {"RN50": "ResNet", "coca_ViT-B-32": "CoCa", "convnext_large_d": "mlp", "ViT-L-14-CLIPA": "vision_cfg"}


def model_of(config: dict[str, object]) -> torch.nn.Module:
    settings = {name: value for name, value in config.items() if name != "custom_text"}
    with torch.device("meta"):
        return (open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP)(**settings)


def scalars_are_known(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Numbers that are read have no value on the meta device."""
    return {n: torch.zeros(t.shape) if t.numel() == 1 else t for n, t in tensors.items()}


def converted(name: str, folder: Path) -> DualEncoder:
    (folder / "tokenizer.json").write_text("{}")
    weights = scalars_are_known(model_of(json.loads((CONFIGS / f"{name}.json").read_text())).state_dict())
    source = CheckpointSource(folder)
    return from_open_clip(Tensors(weights, name), OpenClipConfig.read(CONFIGS / f"{name}.json"), source, None)


def shapes(tensors: object) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in dict(tensors).items()}


def of_transformers(form: TowerForm, config: type, model: type) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return shapes(model(config(**{k: v for k, v in form.config.items() if k != "model_type"})).state_dict())


def of_text(form: TowerForm) -> dict[str, tuple[int, ...]]:
    if form.config["model_type"] == "clip_text_model":
        return of_transformers(form, CLIPTextConfig, CLIPTextModel)
    return of_transformers(form, SiglipTextConfig, SiglipTextModel)


@pytest.mark.parametrize("name", OWN)
def test_open_clip(name, tmp_path):
    found = converted(name, tmp_path)
    assert shapes(found.vision.tensors) == of_transformers(found.vision, CLIPVisionConfig, CLIPVisionModel)
    assert shapes(found.text.tensors) == of_text(found.text)
    assert found.vision.projection.weight.shape[0] == found.text.projection.weight.shape[0]
    assert found.redundant == ()


@pytest.mark.parametrize("name", OF_TIMM)
def test_open_clip_with_a_trunk_of_timm(name, tmp_path):
    import timm

    found = converted(name, tmp_path)
    settings = found.vision.config["model_args"]
    with torch.device("meta"):
        trunk = timm.create_model(found.vision.config["architecture"], num_classes=0, **settings)
    assert shapes(found.vision.tensors) == shapes(trunk.state_dict())
    assert shapes(found.text.tensors) == of_text(found.text)


@pytest.mark.parametrize("name", REFUSED)
def test_other_towers_are_refused(name, tmp_path):
    config = json.loads((CONFIGS / f"{name}.json").read_text())
    config.pop("multimodal_cfg", None)
    weights = scalars_are_known(model_of(config).state_dict())
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=REFUSED[name]):
        read_and_convert(weights, name, tmp_path)


def read_and_convert(weights: dict[str, torch.Tensor], name: str, folder: Path) -> DualEncoder:
    config = OpenClipConfig.read(CONFIGS / f"{name}.json")
    return from_open_clip(Tensors(weights, name), config, CheckpointSource(folder), None)


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-L-14"])
def test_openai(name, tmp_path):
    config = json.loads((CONFIGS / f"{name}.json").read_text())
    weights = scalars_are_known(model_of(config).state_dict()) | {"input_resolution": torch.tensor(224)}
    (tmp_path / "tokenizer.json").write_text("{}")
    found = from_openai(Tensors(weights, name), CheckpointSource(tmp_path), None)
    assert shapes(found.vision.tensors) == of_transformers(found.vision, CLIPVisionConfig, CLIPVisionModel)
    assert found.vision.config["hidden_act"] == "quick_gelu"
    assert found.redundant == ("input_resolution",)


def test_transformers_reads_the_same_names_from_whole_and_half():
    with torch.device("meta"):
        whole = CLIPModel(CLIPConfig())
        half = AutoModel.from_config(whole.config.vision_config)
    assert shapes(half.state_dict()) == shapes(Tensors(whole.state_dict(), "x").below("vision_model.").take_all())


@pytest.mark.parametrize(("width", "layers", "heads"), [(768, 12, 12), (1024, 24, 16)])
def test_blip(width, layers, heads, tmp_path):
    import timm
    from transformers import BertConfig, BertModel

    vision = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "image_size": 384}
    config = BlipConfig(
        vision_config=vision | {"intermediate_size": 4 * width},
        text_config={"vocab_size": 30524, "encoder_hidden_size": width, "num_attention_heads": 12},
    )
    with torch.device("meta"):
        weights = BlipForImageTextRetrieval(config).state_dict()
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    tensors = Tensors(weights, "blip")
    found = convert_blip(tensors, CheckpointSource(tmp_path), ImportRequest("blip"))
    assert tensors.left == ()
    with torch.device("meta"):
        args = {**found.vision.config["model_args"], "img_size": 384}
        trunk = timm.create_model("vit_base_patch16_224", num_classes=0, **args)
        bert = BertModel(BertConfig(**{k: v for k, v in found.text.config.items() if k != "model_type"}), False)
    assert shapes(found.vision.tensors) == shapes(trunk.state_dict())
    assert shapes(found.text.tensors) == shapes(bert.state_dict())
    left = [name for names in found.left_out.values() for name in names]
    assert all(".crossattention." in name or name.startswith("itm_head.") for name in left)
