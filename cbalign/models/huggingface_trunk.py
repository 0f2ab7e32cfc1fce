"""Models of transformers: finding and building one, what it gives, and its published weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel

from cbalign.errors import CheckpointError, SpecError
from cbalign.models.hub import model_folder, read_config
from cbalign.models.trunk import map_tokens

PLACE = "model.vision.architecture"
POOLERS = ("model.pooler.", "model.head.", "model.post_layernorm.", "model.layernorm.")
"""Parts that only `pooler_output` of some models reads."""

ANTIALIASED = ("dinov2_with_registers",)
"""Models whose position embeddings transformers interpolates with antialiasing, by `model_type`."""

BIASED = ("beit", "data2vec-vision", "swin")
"""Models that add relative positions to the scores, by `model_type`: torch cannot export fused attention with them."""

Pooler = Callable[[Any, Tensor], Tensor]


def _class_token(model: Any, tokens: Tensor) -> Tensor:
    return tokens[:, 0]


def _mean(model: Any, tokens: Tensor) -> Tensor:
    return tokens.mean(dim=1)


def _normed_class_token(model: Any, tokens: Tensor) -> Tensor:
    normed: Tensor = model.post_layernorm(tokens[:, 0])
    return normed


def _normed_mean(model: Any, tokens: Tensor) -> Tensor:
    normed: Tensor = model.layernorm(tokens.mean(dim=1))
    return normed


def _attention(model: Any, tokens: Tensor) -> Tensor:
    pooled: Tensor = model.head(tokens)
    return pooled


def _pooler(model: Any, tokens: Tensor) -> Tensor:
    pooled: Tensor = model.pooler(tokens)
    return pooled


OWN_POOLING: dict[str, Pooler] = {
    "clip_vision_model": _normed_class_token,
    "siglip_vision_model": _attention,
    "vit": _pooler,
    "deit": _pooler,
    "beit": _pooler,
    "data2vec-vision": _pooler,
    "dinov2": _class_token,
    "dinov2_with_registers": _class_token,
    "dinov3_vit": _class_token,
    "dinov3_convnext": _class_token,
    "convnext": _normed_mean,
    "convnextv2": _normed_mean,
    "swin": _mean,
    "swinv2": _mean,
    "resnet": _mean,
    "regnet": _mean,
}
"""What `pooler_output` of a model is, from its tokens, by `model_type`."""


@dataclass(frozen=True)
class Source:
    """A model in the hub's layout.

    Args:
        name: as a spec writes it.
        folder: of its config.json.
        config: of the model, or of its vision half.
        whole: the configuration in config.json.
    """

    name: str
    folder: Path
    config: Any
    whole: Any

    @classmethod
    def find(cls, name: str, place: str = PLACE, *, weights: bool = False) -> Source:
        """Find a model by folder or hub name.

        Raises:
            CheckpointError: the folder or hub name has no config.json of transformers.
        """
        folder = model_folder(name, place, weights=weights)
        if "model_type" not in (raw := read_config(folder, place)):
            remedy = "Set model.vision.kind: timm." if "architecture" in raw else "Give a model of transformers."
            raise CheckpointError(f"{place}: config.json in {folder} is not of transformers", remedy=remedy)
        try:
            whole = AutoConfig.from_pretrained(folder)
        except Exception as error:  # transformers raises many kinds
            raise CheckpointError(f"{place}: {folder} cannot be read: {_line(error)}") from error
        return cls(name, folder, getattr(whole, "vision_config", whole), whole)

    def sized(self, image_size: int) -> Any:
        """Return the configuration for images of this size."""
        config = copy.deepcopy(self.config)
        if isinstance(getattr(config, "image_size", None), int):
            config.image_size = image_size
        return config

    @property
    def natural_size(self) -> object:
        """Side of the images that the weights were trained with, in pixels; None if it is not told."""
        return getattr(self.config, "image_size", None)


def build_model(config: Any, source: Source) -> Any:
    """Build a model with random weights.

    Args:
        config: the model's configuration, at some image size.
        source: the model, for messages.

    Raises:
        SpecError: transformers cannot.
    """
    fused = "eager" if getattr(config, "model_type", "") in BIASED else "sdpa"
    try:
        try:
            return AutoModel.from_config(copy.deepcopy(config), attn_implementation=fused)
        except ValueError:  # models without torch's fused attention
            return AutoModel.from_config(copy.deepcopy(config), attn_implementation="eager")
    except Exception as error:  # transformers raises many kinds
        raise SpecError(
            f"{PLACE}: transformers cannot build {source.name}: {_line(error)}",
            remedy="Choose a vision model, or one of images and texts, that transformers.AutoModel knows.",
        ) from error


def run_model(twin: Any, image_size: int, source: Source) -> Tensor:
    """Compute the tokens (1, N, D) of one image, on the meta device.

    Raises:
        SpecError: the model reads no images, or not of this size.
    """
    try:
        return image_tokens(twin, torch.zeros(1, 3, image_size, image_size))
    except Exception as error:  # models check their inputs in many ways
        raise SpecError(
            f"{PLACE}: {source.name} gives no tokens for images of {image_size} px: {_line(error)}",
            remedy=f"Set model.vision.image_size to {source.natural_size}, or choose another vision model.",
        ) from error


def image_tokens(model: Any, normalised: Tensor) -> Tensor:
    """Convert images (B, 3, H, W), already normalised, to tokens (B, N, D)."""
    # These keep an index for all models of a size: it must have values even if the first model is on the meta device.
    cached = normalised.is_meta and model.config.model_type in ("beit", "data2vec-vision")
    with torch.device("cpu") if cached else nullcontext():
        features: Tensor = model(pixel_values=normalised).last_hidden_state
    return map_tokens(features, channels_last=False) if features.ndim == 4 else features


def prefix_count(model: Any) -> int:
    """Count the class, distillation and register tokens in front of the patches."""
    if model.config.model_type == "dinov3_convnext":
        return 1  # the mean of the map, which transformers puts in front
    count = 0
    for name, parameter in model.named_parameters():
        if name.endswith(("cls_token", "class_embedding", "distillation_token")):
            count += 1
        elif name.endswith("register_tokens"):
            count += parameter.shape[1]
    return count


def known_poolings(model: Any, prefix: int) -> Iterable[str]:
    """Yield the poolings that a model has.

    Args:
        model: the model.
        prefix: number of its prefix tokens.
    """
    yield "mean"
    if prefix:
        yield "cls"
    pooler = OWN_POOLING.get(model.config.model_type)
    if pooler is None or (pooler is _attention and not model.use_head):
        return
    yield "trunk"
    if pooler is _attention:
        yield "map"


def published_weights(source: Source) -> dict[str, Tensor]:
    """Read weights by the names of the model or of its vision half, without those that the file lacks.

    transformers reads them, because it renames tensors of older files: safetensors, or pickles with weights_only.

    Raises:
        CheckpointError: they cannot be read.
    """
    try:
        model, info = AutoModel.from_pretrained(
            source.folder, config=source.whole, output_loading_info=True, weights_only=True, local_files_only=True
        )
    except Exception as error:  # transformers raises many kinds
        raise CheckpointError(
            f"model.vision.init: the weights in {source.folder} cannot be read: {_line(error)}",
            remedy="Expected model.safetensors, or pytorch_model.bin with tensors only, of the model in config.json.",
        ) from error
    half = "vision_model." if source.whole is not source.config else ""
    missing = {str(name) for name in info["missing_keys"]} | {str(entry[0]) for entry in info["mismatched_keys"]}
    return {
        name.removeprefix(half): tensor
        for name, tensor in model.state_dict().items()
        if name.startswith(half) and name not in missing
    }


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
