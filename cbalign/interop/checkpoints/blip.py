"""Checkpoints of BLIP: image tower, text tower and projections of Salesforce's files and of transformers' folders.

BLIP's matcher is not imported: it reads the words again, from their embeddings and with [ENC] in front, through all
text layers with cross-attention, whereas cbalign's fusion layers continue from the tokens of the text tower (ALBEF).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from cbalign.data.published import TOKENIZER_FILES, published_folder
from cbalign.errors import CheckpointError, MissingExtraError
from cbalign.experiment.architectures import MINILM
from cbalign.interop.checkpoints.dual import DualEncoder, ImageInput, Projection, TowerForm
from cbalign.interop.checkpoints.dual_run import TOKENIZER_REMEDY, prepare_dual
from cbalign.interop.checkpoints.format import ImportRequest, describe_other
from cbalign.interop.checkpoints.image_input import of_transformers
from cbalign.interop.checkpoints.prepared import Prepared
from cbalign.interop.checkpoints.source import CONFIG, CheckpointSource, tokenizer_files
from cbalign.interop.checkpoints.tensors import Tensors, numbers

HEAD_WIDTH = 64
LONGEST_CAPTION = 35  # tokens, in BLIP's retrieval
TYPES = 2  # rows of BERT's segment embeddings, which BLIP does not have: zero here
PARTS = ("text_encoder.", "vision_proj.", "text_proj.")
MATCHER = "BLIP's matcher (cross-attention of the text layers and itm_head), which reads the words again"
TEACHER = "the momentum teacher and its queues"
DECODER = "BLIP's caption decoder"
BLOCK_PARTS = (
    ("layer_norm1", "norm1"),
    ("self_attn.qkv", "attn.qkv"),
    ("self_attn.projection", "attn.proj"),
    ("layer_norm2", "norm2"),
    ("mlp.fc1", "mlp.fc1"),
    ("mlp.fc2", "mlp.fc2"),
)


def read_blip(request: ImportRequest, scratch: Path) -> Prepared:
    """Make a model of BLIP's retrieval or pretraining checkpoint.

    Raises:
        CheckpointError: it is another model, or damaged.
    """
    source = CheckpointSource.find(request.source)
    weights = source.weights()
    tensors = Tensors(weights, source.name)
    if missing := next((part for part in PARTS if not any(name.startswith(part) for name in weights)), None):
        captions = any(name.startswith("text_decoder.") for name in weights)
        raise CheckpointError(
            f"{source.name} is {'a captioner or answerer of BLIP' if captions else 'no checkpoint of BLIP'}: it has no "
            f"tensor named {missing}…",
            remedy=describe_other(weights, request.source, "blip")
            or "Give BLIP's retrieval or pretraining checkpoint, or a folder of BlipForImageTextRetrieval.",
        )
    encoder = convert(tensors, source, request)
    tensors.refuse_rest("BLIP model")
    return prepare_dual(encoder, request, scratch)


def convert(tensors: Tensors, source: CheckpointSource, request: ImportRequest) -> DualEncoder:
    """Convert a state dict of BLIP; what is left of it afterwards is of another model.

    Raises:
        CheckpointError: a tensor is missing.
    """
    config = source.json(CONFIG)
    left_out = {
        TEACHER: _set_aside(tensors, lambda name: "_m." in name or "queue" in name),
        DECODER: _set_aside(tensors, lambda name: name.startswith("text_decoder.")),
        MATCHER: _set_aside(tensors, lambda name: ".crossattention." in name or name.startswith("itm_head.")),
    }
    redundant = tensors.drop(("text_encoder.embeddings.position_ids",))
    vision, size = _vision(tensors, config.get("vision_config") or {}, request)
    text = _text(tensors, config.get("text_config") or {}, source, request)
    processor, origin = source.processor()
    images = of_transformers(processor, size, origin) if processor else ImageInput(fit="squash")
    temperature = tensors.take_if_there("temp")
    scale = None if temperature is None else -math.log(float(temperature))
    return DualEncoder("BLIP", vision, text, images, scale, left_out={k: v for k, v in left_out.items() if v},
                       redundant=redundant)  # fmt: skip


def _set_aside(tensors: Tensors, belongs: Callable[[str], bool]) -> tuple[str, ...]:
    return tensors.drop([name for name in tensors if belongs(name)])


def _vision(tensors: Tensors, config: Mapping[str, object], request: ImportRequest) -> tuple[TowerForm, int]:
    """BLIP's image tower, which is timm's vision transformer."""
    if any(name.startswith("visual_encoder.") for name in tensors):
        tower = tensors.below("visual_encoder.")
    else:
        tower = _of_transformers(tensors.below("vision_model."))
    _, positions, width = tower.shape("pos_embed", 3)
    patch = tower.shape("patch_embed.proj.weight", 4)[-1]
    side = round((positions - 1) ** 0.5)
    form = {
        "architecture": "vit_base_patch16_224",
        "num_classes": 0,
        "model_args": {
            "patch_size": patch,
            "embed_dim": width,
            "depth": numbers(tower, "blocks."),
            "num_heads": _heads(config, request.image_heads, width),
            "mlp_ratio": tower.shape("blocks.0.mlp.fc1.weight", 2)[0] / width,
        },
        "pretrained_cfg": {"input_size": [3, side * patch, side * patch], "crop_mode": "squash", "crop_pct": 1.0},
    }
    settings = {"kind": "timm", "image_size": side * patch, "pooling": "cls"}
    projection = Projection(tensors.take("vision_proj.weight"), tensors.take("vision_proj.bias"))
    return TowerForm(settings, form, tower.take_all(), projection), side * patch


def _of_transformers(model: Tensors) -> Tensors:
    """The tensors of BlipVisionModel by timm's names."""
    named: dict[str, Tensor] = {
        "cls_token": model.take("embeddings.class_embedding"),
        "pos_embed": model.take("embeddings.position_embedding"),
    }
    for kind in ("weight", "bias"):
        named[f"patch_embed.proj.{kind}"] = model.take(f"embeddings.patch_embedding.{kind}")
        named[f"norm.{kind}"] = model.take(f"post_layernorm.{kind}")
        for number in range(numbers(model, "encoder.layers.")):
            for theirs, ours in BLOCK_PARTS:
                named[f"blocks.{number}.{ours}.{kind}"] = model.take(f"encoder.layers.{number}.{theirs}.{kind}")
    model.refuse_rest("vision transformer")
    return Tensors(named, model.origin)


def _text(
    tensors: Tensors, config: Mapping[str, object], source: CheckpointSource, request: ImportRequest
) -> TowerForm:
    """BLIP's text tower, a BERT without segment embeddings."""
    bert = tensors.below("text_encoder.")
    words, width = bert.shape("embeddings.word_embeddings.weight", 2)
    positions = bert.shape("embeddings.position_embeddings.weight", 2)[0]
    form = {
        "model_type": "bert",
        "vocab_size": words,
        "hidden_size": width,
        "num_hidden_layers": numbers(bert, "encoder.layer."),
        "num_attention_heads": _heads(config, request.text_heads, width),
        "intermediate_size": bert.shape("encoder.layer.0.intermediate.dense.weight", 2)[0],
        "max_position_embeddings": positions,
        "type_vocab_size": TYPES,
        "layer_norm_eps": config.get("layer_norm_eps", 1e-12),
    }
    segments = {"embeddings.token_type_embeddings.weight": torch.zeros(TYPES, width)}
    projection = Projection(tensors.take("text_proj.weight"), tensors.take("text_proj.bias"))
    settings = {"kind": "huggingface", "max_tokens": min(LONGEST_CAPTION, positions), "pooling": "first"}
    return TowerForm(settings, form, bert.take_all() | segments, projection, _tokenizer(source, request.tokenizer))


def _heads(config: Mapping[str, object], given: int | None, width: int) -> int:
    known = config.get("num_attention_heads")
    return given or (known if isinstance(known, int) else max(1, width // HEAD_WIDTH))


def _tokenizer(source: CheckpointSource, given: str | None) -> tuple[Path, ...]:
    """The files of the tokenizer: given, of the folder, or of BERT uncased in an installed package."""
    if given is None and (found := source.tokenizer_files()):
        return found
    try:
        return tokenizer_files(published_folder(given or MINILM, "--tokenizer", TOKENIZER_FILES))
    except MissingExtraError as error:
        raise CheckpointError(
            "The vocabulary of BERT-base uncased is not on this machine.", remedy=TOKENIZER_REMEDY
        ) from error
