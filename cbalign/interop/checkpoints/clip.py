"""Checkpoints of CLIP and SigLIP as transformers has them, and OpenAI's own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cbalign.data.published import TOKENIZER_FILES, published_folder
from cbalign.errors import CheckpointError
from cbalign.interop.checkpoints.clip_towers import scalar
from cbalign.interop.checkpoints.dual import DualEncoder, Projection, TowerForm
from cbalign.interop.checkpoints.dual_run import prepare_dual
from cbalign.interop.checkpoints.format import ImportRequest, describe_other
from cbalign.interop.checkpoints.image_input import of_transformers
from cbalign.interop.checkpoints.open_clip import from_openai
from cbalign.interop.checkpoints.prepared import Prepared
from cbalign.interop.checkpoints.source import CONFIG, CheckpointSource, tokenizer_files
from cbalign.interop.checkpoints.tensors import Tensors

POSITION_IDS = ("vision_model.embeddings.position_ids", "text_model.embeddings.position_ids")


def read_clip(request: ImportRequest, scratch: Path) -> Prepared:
    """Make a model of a folder of transformers' CLIPModel, or of a file of OpenAI's CLIP.

    Raises:
        CheckpointError: it is neither, or damaged.
    """
    source = CheckpointSource.find(request.source)
    weights = source.weights()
    tensors = Tensors(weights, source.name)
    if "visual.proj" in weights and "token_embedding.weight" in weights and not _is_open_clip(source):
        return prepare_dual(from_openai(tensors, source, request.tokenizer), request, scratch)
    config = _config(source, tensors, "clip", request)
    sizes = _halves(config, "clip", {"projection_dim": int(config.get("projection_dim", 512))})
    encoder = DualEncoder(
        "CLIP",
        _vision(tensors, source, sizes["vision"], Projection(tensors.take("visual_projection.weight"))),
        _text(tensors, source, sizes["text"], Projection(tensors.take("text_projection.weight")), request.tokenizer),
        of_transformers(*_processor(source, sizes["vision"])),
        scalar(tensors.take("logit_scale")),
        redundant=tensors.drop(POSITION_IDS),
    )
    tensors.refuse_rest("CLIP model")
    return prepare_dual(encoder, request, scratch)


def read_siglip(request: ImportRequest, scratch: Path) -> Prepared:
    """Make a model of a folder of transformers' SiglipModel, which SigLIP 2 of fixed image size is, too.

    Raises:
        CheckpointError: it is another model, or damaged.
    """
    source = CheckpointSource.find(request.source)
    tensors = Tensors(source.weights(), source.name)
    config = _config(source, tensors, "siglip", request)
    sizes = _halves(config, "siglip", {})
    width = int(sizes["vision"].get("hidden_size", 768))
    joint = int(sizes["text"].get("projection_size") or sizes["text"].get("hidden_size", 768))
    if joint != width:
        raise CheckpointError(f"{source.name}: embeddings of {joint} dimensions for texts, of {width} for images")
    encoder = DualEncoder(
        "SigLIP",
        _vision(tensors, source, sizes["vision"], Projection.identity(width)),
        _text(tensors, source, sizes["text"], Projection.identity(width), request.tokenizer),
        of_transformers(*_processor(source, sizes["vision"])),
        scalar(tensors.take("logit_scale")),
        scalar(tensors.take("logit_bias")),
        redundant=tensors.drop(POSITION_IDS),
    )
    tensors.refuse_rest("SigLIP model")
    return prepare_dual(encoder, request, scratch)


def _is_open_clip(source: CheckpointSource) -> bool:
    """Whether a file of OpenAI's names comes with a configuration of open_clip."""
    return bool(source.json("open_clip_config.json"))


def _config(source: CheckpointSource, tensors: Tensors, wanted: str, request: ImportRequest) -> Mapping[str, Any]:
    """The content of config.json, which has to be of the wanted type."""
    config = source.json(CONFIG)
    found = config.get("model_type")
    if found == wanted and any(name.startswith("vision_model.") for name in tensors):
        return config
    remedy = describe_other(tuple(tensors), request.source, wanted)
    if found == "siglip2":
        remedy = "SigLIP 2 of variable image size cannot be imported; those of fixed size are of model_type siglip."
    elif not remedy and found != wanted:
        remedy = f"Give a folder that transformers wrote, with config.json of model_type {wanted}."
    is_what = f"config.json is of model_type {found!r}" if found else "it has no config.json of transformers"
    raise CheckpointError(f"{source.name} is no {wanted} model: {is_what}", remedy=remedy)


def _halves(config: Mapping[str, Any], kind: str, more: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The configurations of the two towers, with the defaults of transformers."""
    from transformers import AutoConfig

    whole = AutoConfig.for_model(kind, **{k: v for k, v in config.items() if k != "model_type"})
    halves = {half: getattr(whole, f"{half}_config") for half in ("vision", "text")}
    return {half: each.to_dict() | dict(more) for half, each in halves.items()}


def _vision(tensors: Tensors, source: CheckpointSource, config: Mapping[str, Any], projection: Projection) -> TowerForm:
    size = int(config["image_size"])
    weights = tensors.below("vision_model.")
    weights.drop(("embeddings.position_ids",))
    settings = {"kind": "huggingface", "image_size": size, "pooling": "trunk"}
    return TowerForm(settings, config, weights.take_all(), projection)


def _text(
    tensors: Tensors,
    source: CheckpointSource,
    config: Mapping[str, Any],
    projection: Projection,
    tokenizer: str | None,
) -> TowerForm:
    weights = tensors.below("text_model.")
    weights.drop(("embeddings.position_ids",))
    length = int(config["max_position_embeddings"])
    folder = source.folder if tokenizer is None else published_folder(tokenizer, "--tokenizer", TOKENIZER_FILES)
    settings = {"kind": "huggingface", "max_tokens": length, "pooling": "trunk"}
    return TowerForm(settings, config, weights.take_all(), projection, tokenizer_files(folder))


def _processor(source: CheckpointSource, vision: Mapping[str, Any]) -> tuple[Mapping[str, Any], int, str]:
    config, origin = source.processor()
    return config, int(vision["image_size"]), origin
