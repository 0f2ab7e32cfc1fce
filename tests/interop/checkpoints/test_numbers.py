"""Imported models compute what the model code of transformers and open_clip computes, in every family."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models import build_model_with_cfg, register_model
from timm.models.vision_transformer import VisionTransformer
from transformers import BlipConfig, BlipForImageTextRetrieval, CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from tests.interop.checkpoints.conftest import (
    SIZE,
    embeddings,
    images,
    imported,
    normalised,
    randomise,
    write_processor,
    write_tokenizer,
)

END = 43  # of write_tokenizer
VISION = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": SIZE,
    "patch_size": 8,
}
TEXT = {
    "vocab_size": END + 1,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 12,
}
SPECIAL = {"bos_token_id": END - 1, "eos_token_id": END, "pad_token_id": 0}


def clip_texts(length: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts of several lengths that end with the end token."""
    ids = torch.zeros(3, length, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, words in enumerate((1, 4, length - 2)):
        ids[row, : words + 2] = torch.tensor([END - 1, *range(2, 2 + words), END])
        mask[row, : words + 2] = 1
    return ids, mask


def write_clip(folder: Path, **vision: object) -> CLIPModel:
    config = CLIPConfig(vision_config=VISION | vision, text_config=TEXT | SPECIAL, projection_dim=24)
    model = randomise(CLIPModel(config))
    model.save_pretrained(folder)
    write_tokenizer(folder)
    write_processor(folder)
    return model


def write_siglip(folder: Path) -> SiglipModel:
    text = TEXT | SPECIAL | {"projection_size": VISION["hidden_size"], "hidden_act": "gelu_pytorch_tanh"}
    model = randomise(SiglipModel(SiglipConfig(vision_config=VISION, text_config=text)))
    model.save_pretrained(folder)
    write_tokenizer(folder, start=None)
    size = {"height": SIZE, "width": SIZE}
    kind = {"image_processor_type": "SiglipImageProcessor"}
    write_processor(folder, size=size, do_center_crop=False, crop_size=None, **kind)
    return model


def agree(encoder, model_image, model_text, pixels, ids, mask) -> None:
    found = embeddings(encoder, pixels, ids, mask)
    for name, own, theirs in zip(("image", "text"), found, (model_image, model_text)):
        difference = float((own - F.normalize(theirs, dim=-1)).abs().max())
        print(f"{name}: {difference:.1e}")
        assert difference < 1e-4, name
        assert float(own.std(dim=0).max()) > 1e-3, "embeddings depend on the input"


def pooled(output):
    return getattr(output, "pooler_output", output)


@torch.no_grad()
def test_clip_of_transformers(place):
    model = write_clip(place / "clip")
    encoder, document = imported("clip", "clip")
    pixels, (ids, mask) = images(), clip_texts()
    image = pooled(model.get_image_features(normalised(encoder, pixels)))
    text = pooled(model.get_text_features(ids, mask))
    agree(encoder, image, text, pixels, ids, mask)
    assert float(encoder.model.temperature.value) == pytest.approx(float((-model.logit_scale).exp()))
    assert document["unexpected"] == []


@torch.no_grad()
def test_siglip_of_transformers(place):
    model = write_siglip(place / "siglip")
    encoder, document = imported("siglip", "siglip")
    pixels, ids = images(), torch.randint(2, END, (3, 12))
    mask = torch.ones_like(ids)
    image = pooled(model.get_image_features(normalised(encoder, pixels)))
    text = pooled(model.get_text_features(ids))
    agree(encoder, image, text, pixels, ids, mask)
    assert any("logit bias" in note for note in document["notes"])


OWN_VISION = {"layers": 2, "width": 48, "head_width": 12, "patch_size": 8, "image_size": SIZE}
OWN_TEXT = {"context_length": 12, "vocab_size": END + 1, "width": 32, "heads": 4, "layers": 2}
SIGLIP_TEXT = OWN_TEXT | {
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
    "act_kwargs": {"approximate": "tanh"},
}


@register_model
def vit_siglip_of_a_test(pretrained: bool = False, **settings: object) -> VisionTransformer:
    """SigLIP's tower as timm has it, in small."""
    sizes = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4, "img_size": SIZE}
    form = {"class_token": False, "global_pool": "map", "act_layer": "gelu_tanh"}
    return build_model_with_cfg(VisionTransformer, "vit_siglip_of_a_test", pretrained, **sizes | form | settings)


def timm_vision(name: str, pool: str, proj: str | None, size: int = SIZE) -> dict[str, object]:
    return {"timm_model_name": name, "timm_pool": pool, "timm_proj": proj, "image_size": size}


OPEN_CLIP = {
    "ViT": {"embed_dim": 24, "vision_cfg": OWN_VISION, "text_cfg": OWN_TEXT},
    "ViT QuickGELU": {"embed_dim": 24, "vision_cfg": OWN_VISION, "text_cfg": OWN_TEXT, "quick_gelu": True},
    "ViT custom text": {"embed_dim": 24, "vision_cfg": OWN_VISION, "text_cfg": OWN_TEXT, "custom_text": True},
    "SigLIP": {
        "embed_dim": 48,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": timm_vision("vit_siglip_of_a_test", "map", "none"),
        "text_cfg": SIGLIP_TEXT,
    },
    "ConvNeXt": {
        "embed_dim": 24,
        "vision_cfg": timm_vision("convnext_atto", "", "linear", 64),
        "text_cfg": OWN_TEXT,
    },
    "EVA": {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": timm_vision("eva02_tiny_patch14_224", "token", None, 224),
        "text_cfg": OWN_TEXT,
    },
}


def write_open_clip(folder: Path, config: dict[str, object], *, scale: float = 0.05) -> torch.nn.Module:
    settings = dict(config)
    custom = settings.pop("custom_text", False)
    model = randomise((open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**settings), scale)
    folder.mkdir()
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.25, 0.2], "resize_mode": "shortest"}
    whole = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(whole))
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    write_tokenizer(folder)
    return model


@pytest.mark.parametrize("family", OPEN_CLIP)
@torch.no_grad()
def test_open_clip(family, place, monkeypatch):
    config = OPEN_CLIP[family]
    model = write_open_clip(place / "model", config)
    encoder, document = imported("open_clip", "model")
    pixels = images(size=config["vision_cfg"]["image_size"])
    ids, mask = clip_texts()
    if config["text_cfg"].get("no_causal_mask"):
        mask = torch.ones_like(ids)
    agree(encoder, model.encode_image(normalised(encoder, pixels)), model.encode_text(ids), pixels, ids, mask)
    assert document["unexpected"] == []


def write_blip(folder: Path, *, norm_eps: float = 1e-6) -> BlipForImageTextRetrieval:
    text = TEXT | {"encoder_hidden_size": VISION["hidden_size"], "pad_token_id": 0, "sep_token_id": 4}
    config = BlipConfig(
        vision_config=VISION | {"layer_norm_eps": norm_eps},
        text_config=text | {"bos_token_id": 3, "eos_token_id": 4},
        image_text_hidden_size=24,
    )
    model = randomise(BlipForImageTextRetrieval(config))
    model.save_pretrained(folder)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *(f"w{i}" for i in range(END - 4))]))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    return model


def salesforce(model: BlipForImageTextRetrieval) -> dict[str, torch.Tensor]:
    """The model's tensors as Salesforce's files name them, with teacher and queues."""
    names = {
        "vision_model.embeddings.class_embedding": "visual_encoder.cls_token",
        "vision_model.embeddings.position_embedding": "visual_encoder.pos_embed",
        "vision_model.embeddings.patch_embedding": "visual_encoder.patch_embed.proj",
        "vision_model.post_layernorm": "visual_encoder.norm",
        "vision_model.encoder.layers": "visual_encoder.blocks",
        "self_attn.projection": "attn.proj",
        "self_attn": "attn",
        "layer_norm": "norm",
    }
    found = {}
    for name, tensor in model.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        found[name] = tensor
    teacher = {"visual_encoder_m.cls_token": torch.zeros(1), "image_queue": torch.zeros(24, 8)}
    return found | teacher | {"temp": torch.tensor(0.05), "ptr_queue": torch.zeros(1, dtype=torch.int64)}


@torch.no_grad()
def blip_embeddings(model, encoder, pixels, ids, mask):
    image = model.vision_model(normalised(encoder, pixels)).last_hidden_state[:, 0]
    text = model.text_encoder(input_ids=ids, attention_mask=mask, is_decoder=False).last_hidden_state[:, 0]
    return model.vision_proj(image), model.text_proj(text)


@pytest.mark.parametrize("form", ["transformers", "Salesforce"])
def test_blip_towers(form, place):
    model = write_blip(place / "blip")
    words = ["blip"]
    if form == "Salesforce":
        torch.save({"model": salesforce(model)}, "blip.pth")
        words = ["blip.pth", "--tokenizer", "blip", "--image-heads", "4", "--text-heads", "4"]
    encoder, document = imported("blip", *words)
    pixels, (ids, mask) = images(), clip_texts()
    agree(encoder, *blip_embeddings(model, encoder, pixels, ids, mask), pixels, ids, mask)
    left = document["unexpected"]
    assert "itm_head.weight" in left
    assert "text_encoder.encoder.layer.1.crossattention.self.key.bias" in left
    assert any("matcher" in note for note in document["notes"])
    if form == "Salesforce":
        assert float(encoder.model.temperature.value) == pytest.approx(0.05)
        assert "image_queue" in left
    assert encoder.tokenizer.encode(["w1 w2"]).input_ids.tolist() == [[2, 6, 7, 3]]


def test_blip_towers_of_transformers_usual_epsilon(place):
    """transformers' port adds 1e-5 to variances, Salesforce's code and the imported tower 1e-6."""
    model = write_blip(place / "blip", norm_eps=1e-5)
    encoder, _ = imported("blip", "blip")
    pixels, (ids, mask) = images(), clip_texts()
    agree(encoder, *blip_embeddings(model, encoder, pixels, ids, mask), pixels, ids, mask)
