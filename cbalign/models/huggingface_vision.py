"""Image towers from transformers: every vision model that `AutoModel` knows and that gives tokens or a feature map."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from cbalign.data.image import Preprocessing
from cbalign.errors import CheckpointError, SpecError
from cbalign.models.hub import model_folder, read_config
from cbalign.models.huggingface_preprocessing import read_preprocessing
from cbalign.models.preprocessing import chosen_preprocessing
from cbalign.models.sections.huggingface_vision import HuggingFaceVisionSection
from cbalign.models.sections.vision import Pooling
from cbalign.models.tower import VisionTower
from cbalign.models.trunk import are_square, check_pooling, map_tokens, resize_positions
from cbalign.models.weights import LoadRules, WeightReport, load_weights

PLACE = "model.vision.architecture"
POOLERS = ("model.pooler.", "model.head.", "model.post_layernorm.", "model.layernorm.")
"""Parts that only `pooler_output` of some models reads."""

ANTIALIASED = ("dinov2_with_registers",)
"""Models whose position embeddings transformers interpolates with antialiasing, by `model_type`."""

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


class HuggingFaceVisionTower(VisionTower):
    """A vision model of transformers. A feature map becomes tokens (B, H·W, C), row by row.

    Args:
        source: the model.
        image_size: side of the square input in pixels.
        pooling: how tokens become one vector.
        preprocessing: how images become pixels; None is ALBEF's.

    Raises:
        SpecError: transformers has no such vision model, it gives neither tokens nor a map, it cannot read images of
            this size, or it lacks the pooling.
    """

    def __init__(
        self,
        source: Source,
        image_size: int,
        *,
        pooling: Pooling = "trunk",
        preprocessing: Preprocessing | None = None,
    ) -> None:
        config = source.sized(image_size)
        model = _build(config, source)
        with torch.device("meta"), torch.no_grad():
            tokens = _run(_build(config, source).eval(), image_size, source)
        prefix = _prefix_tokens(model)
        if tokens.shape[1] <= prefix or not are_square(tokens, prefix):
            raise SpecError(
                f"{PLACE}: {source.name} gives {tokens.shape[1]} tokens, {prefix} of them in front, which leaves no "
                "square of patches",
                remedy="Choose another model.",
            )
        check_pooling(pooling, _poolings(model, prefix), source.name)
        super().__init__(tokens.shape[2], preprocessing or Preprocessing(image_size), prefix)
        self.model = model
        self.patches = tokens.shape[1] - prefix
        self.source = source
        self.pooling = pooling

    @classmethod
    def from_section(cls, section: HuggingFaceVisionSection, initialise: bool) -> HuggingFaceVisionTower:
        """Build the tower of a spec.

        Args:
            section: `model.vision`.
            initialise: whether to load the weights that the section names.

        Raises:
            SpecError: no such tower can be built.
            CheckpointError: the model cannot be read, or its weights do not fit.
        """
        wanted = section.weights_source if initialise else None
        source = Source.find(section.architecture, weights=wanted is not None and section.init == "pretrained")
        other = section.init not in ("pretrained", "random")

        def statistics() -> Preprocessing:
            folder = model_folder(section.init, "model.vision.init", weights=False) if other else source.folder
            return read_preprocessing(folder, section.image_size)

        tower = cls(
            source,
            section.image_size,
            pooling=section.pooling,
            preprocessing=chosen_preprocessing(section.preprocessing, section.image_size, statistics),
        )
        if wanted is not None:
            tower.load_published(Source.find(section.init, "model.vision.init", weights=True) if other else source)
        return tower

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The repeated blocks or stages, first to last."""
        lists = [module for module in self.model.modules() if isinstance(module, nn.ModuleList)]
        return max(lists, key=len, default=())

    @property
    def pooled_width(self) -> int:
        """Dimension of a pooled vector."""
        if self.pooling != "trunk":
            return self.width
        return int(getattr(self.model.config, "pooler_output_size", None) or self.width)

    def encode(self, normalised: Tensor) -> Tensor:
        """Images (B, 3, H, W), already normalised, to tokens (B, N, D): prefix tokens, then patches."""
        return _tokens(self.model, normalised)

    def pool(self, tokens: Tensor) -> Tensor:
        """One vector (B, `pooled_width`) per image, from its tokens (B, N, D)."""
        if self.pooling == "cls":
            return tokens[:, 0]
        if self.pooling == "mean":
            return super().pool(tokens)
        return OWN_POOLING[self.model.config.model_type](self.model, tokens)

    def adapt(self, name: str, given: Tensor, own: Tensor) -> Tensor | None:
        """Interpolate the position embeddings of another image size."""
        if "position_embedding" not in name or given.shape[-1] != own.shape[-1]:
            return None
        positions = given.float().reshape(1, -1, given.shape[-1])
        prefix = own.shape[-2] - self.patches  # registers have no positions
        if not are_square(positions, prefix):
            return None
        antialias = self.model.config.model_type in ANTIALIASED
        return resize_positions(positions, own.shape[-2], prefix, antialias=antialias).reshape(own.shape).to(own.dtype)

    def load_published(self, source: Source) -> WeightReport:
        """Load the weights of a model.

        Parts that only an unused pooling reads may be missing.

        Raises:
            CheckpointError: the weights do not fit or cannot be read; the tower is unchanged.
        """
        unused = POOLERS if self.pooling in ("cls", "mean") else ()
        rules = LoadRules(
            required=lambda name: not name.startswith(unused),
            place="model.vision",
            remedy=f"Give an architecture and weights of one model, image_size {source.natural_size}, which it was "
            "trained with, or another pooling (cls, mean) where the weights lack that of the trunk.",
        )
        named = {f"model.{name}": tensor for name, tensor in _published(source).items()}
        return load_weights(self, named, str(source.name), rules)


def _build(config: Any, source: Source) -> Any:
    try:
        try:
            model = AutoModel.from_config(copy.deepcopy(config), attn_implementation="sdpa")
        except ValueError:  # models without torch's fused attention
            return AutoModel.from_config(copy.deepcopy(config), attn_implementation="eager")
        if any("relative_position_bias" in name for name, _ in model.named_parameters()):
            # torch.onnx cannot decompose fused attention with the mask that these biases make (Swin, BEiT).
            model.set_attn_implementation("eager")
        return model
    except Exception as error:  # transformers raises many kinds
        raise SpecError(
            f"{PLACE}: transformers cannot build {source.name}: {_line(error)}",
            remedy="Choose a vision model, or one of images and texts, that transformers.AutoModel knows.",
        ) from error


def _run(twin: Any, image_size: int, source: Source) -> Tensor:
    """The tokens of one image on the meta device."""
    try:
        return _tokens(twin, torch.zeros(1, 3, image_size, image_size))
    except Exception as error:  # models check their inputs in many ways
        raise SpecError(
            f"{PLACE}: {source.name} gives no tokens for images of {image_size} px: {_line(error)}",
            remedy=f"Set model.vision.image_size to {source.natural_size}, or choose another vision model.",
        ) from error


def _tokens(model: Any, normalised: Tensor) -> Tensor:
    """Images (B, 3, H, W), already normalised, to tokens (B, N, D)."""
    # These keep an index for all models of a size: it must have values even if the first model is on the meta device.
    cached = normalised.is_meta and model.config.model_type in ("beit", "data2vec-vision")
    with torch.device("cpu") if cached else nullcontext():
        features: Tensor = model(pixel_values=normalised).last_hidden_state
    return map_tokens(features, channels_last=False) if features.ndim == 4 else features


def _prefix_tokens(model: Any) -> int:
    """Number of class, distillation and register tokens in front of the patches."""
    if model.config.model_type == "dinov3_convnext":
        return 1  # the mean of the map, which transformers puts in front
    count = 0
    for name, parameter in model.named_parameters():
        if name.endswith(("cls_token", "class_embedding", "distillation_token")):
            count += 1
        elif name.endswith("register_tokens"):
            count += parameter.shape[1]
    return count


def _poolings(model: Any, prefix: int) -> Iterable[str]:
    yield "mean"
    if prefix:
        yield "cls"
    pooler = OWN_POOLING.get(model.config.model_type)
    if pooler is None or (pooler is _attention and not model.use_head):
        return
    yield "trunk"
    if pooler is _attention:
        yield "map"


def _published(source: Source) -> dict[str, Tensor]:
    """Weights by the names of the model or of its vision half, without those that the file lacks.

    transformers reads them, because it renames tensors of older files: safetensors, or pickles with weights_only.
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
