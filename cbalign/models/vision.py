"""Image towers from timm: every model that gives tokens or a feature map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from cbalign.data.image import Preprocessing
from cbalign.data.published import is_hub_name
from cbalign.errors import CheckpointError, SpecError
from cbalign.models.attention import prefers_plain
from cbalign.models.classifier import ClassNames, class_names, classifier_rows
from cbalign.models.preprocessing import chosen_preprocessing
from cbalign.models.pretrained import read_weights
from cbalign.models.sections.timm import VisionSection
from cbalign.models.sections.vision import Pooling
from cbalign.models.stem import POSITION_STD, ConvolutionalStem
from cbalign.models.timm_trunk import Architecture, Features, converted
from cbalign.models.tower import VisionTower
from cbalign.models.trunk import are_square, check_pooling, resize_positions
from cbalign.models.weights import LoadRules, WeightReport, load_weights

POSITIONS = "transformer.pos_embed"
HEADS = ("head.", "head_dist.", "classifier.", "fc.")  # of classification, in published weights
POOLS = ("attn_pool.", "fc_norm.", "norm_head.", "conv_head.")  # of the trunk's own pooling
BLOCKS = ("blocks", "stages", "layers")  # names of a trunk's repeated parts


class TimmVisionTower(VisionTower):
    """A model of timm without its head. A feature map becomes tokens (B, H·W, C), row by row.

    Args:
        architecture: name of a timm model, `efficientnet-lite0`, or a folder or hub name in timm's layout.
        image_size: side of the square input in pixels.
        patch_size, layers, width, heads: override a plain ViT's; None keeps it.
        stem: how pixels become tokens; `convolutions` replaces a plain ViT's linear map of a patch.
        drop_path: stochastic depth rate of the last block.
        pooling: how tokens become one vector.
        preprocessing: how images become pixels; None is ALBEF's.

    Raises:
        SpecError: timm has no such model, it gives neither tokens nor a map, it lacks the pooling, or the sizes do not
            fit together.
        CheckpointError: the folder or hub name cannot be read.
    """

    def __init__(
        self,
        architecture: str,
        image_size: int,
        *,
        patch_size: int | None = None,
        layers: int | None = None,
        width: int | None = None,
        heads: int | None = None,
        stem: Literal["patches", "convolutions"] = "patches",
        drop_path: float = 0.0,
        pooling: Pooling = "trunk",
        preprocessing: Preprocessing | None = None,
    ) -> None:
        given = {"patch_size": patch_size, "depth": layers, "embed_dim": width, "num_heads": heads}
        settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if drop_path:
            settings["drop_path_rate"] = drop_path
        known = Architecture.find(architecture)
        trunk = known.create(image_size, **settings)
        if set(settings) & set(given) or stem != "patches":
            _require_plain(trunk, architecture)
        features = Features.of(trunk, known, image_size, **settings)
        check_pooling(pooling, _poolings(trunk, features), architecture)
        if stem == "convolutions":
            _replace_stem(cast(VisionTransformer, trunk))
        super().__init__(features.width, preprocessing or Preprocessing(image_size), features.prefix_tokens)
        self.transformer: Any = trunk  # the name of any trunk in checkpoints
        self.architecture = known
        self.features = features
        self.pooling = pooling
        self._plain_attention: bool | None = None
        self._is_biased = any("relative_position" in name for name, _ in trunk.named_buffers())

    @classmethod
    def from_section(cls, section: VisionSection, initialise: bool) -> TimmVisionTower:
        """Build the tower of a spec.

        Args:
            section: `model.vision`.
            initialise: whether to load the weights that the section names.

        Raises:
            SpecError: no such tower can be built.
            CheckpointError: the weights do not fit or cannot be read.
        """
        tower = cls(
            section.architecture,
            section.image_size,
            patch_size=section.patch_size,
            layers=section.layers,
            width=section.width,
            heads=section.heads,
            stem=section.stem,
            drop_path=section.drop_path,
            pooling=section.pooling,
            preprocessing=chosen_preprocessing(section.preprocessing, section.image_size, lambda: _statistics(section)),
        )
        if initialise and (source := section.weights_source) is not None:
            tower.load_timm(tower.weights(section.init), source.label)
        return tower

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The trunk's blocks or stages, first to last."""
        for name in BLOCKS:
            found = getattr(self.transformer, name, None)
            if isinstance(found, nn.ModuleList | nn.Sequential):
                return found
        return ()

    @property
    def pooled_width(self) -> int:
        """Dimension of a pooled vector."""
        return self.width if self.pooling in ("cls", "mean") else self.features.pooled or self.width

    def encode(self, normalised: Tensor) -> Tensor:
        """Images (B, 3, H, W), already normalised, to tokens (B, N, D): prefix tokens, then patches."""
        device = normalised.device.type
        computed_in = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else normalised.dtype
        # torch cannot export its fused attention with relative positions, which are added to the scores.
        unexportable = self._is_biased and torch.compiler.is_exporting()
        self._choose_attention(unexportable or prefers_plain(normalised.device, computed_in))
        return self.features.tokens(self.transformer.forward_features(normalised))

    def pool(self, tokens: Tensor) -> Tensor:
        """One vector (B, `pooled_width`) per image, from its tokens (B, N, D)."""
        if self.pooling == "cls":
            return tokens[:, 0]
        if self.pooling == "mean":
            return super().pool(tokens)
        return cast(Tensor, self.transformer.forward_head(self.features.restored(tokens), pre_logits=True))

    @property
    def class_names(self) -> ClassNames:
        """The names of the classes of the published weights; none if unknown or if other vectors are classified."""
        return class_names(self.architecture.published_config) if self.pooling == "trunk" else ()

    def classifier(self, init: str) -> Tensor | None:
        """Read the classifier's matrix (C, `pooled_width`) from the weights that `init` names, if they have one."""
        return classifier_rows(self.weights(init), self.architecture.published_config, self.pooled_width)

    def adapt(self, name: str, given: Tensor, own: Tensor) -> Tensor | None:
        """Interpolate the position embeddings of another image size."""
        prefix = self._position_prefix
        if name != POSITIONS or given.shape[2:] != own.shape[2:] or not are_square(given, prefix):
            return None
        return resize_positions(given.float(), own.shape[1], prefix).to(own.dtype)

    def weights(self, init: str) -> dict[str, Tensor]:
        """Read the weights that `model.vision.init` names, by timm's names.

        Raises:
            CheckpointError: they cannot be read, or are those of another architecture.
            MissingExtraError: their package is not installed.
        """
        if init == "pretrained":
            return self.architecture.published(self.transformer)
        if not _has_config(init):
            return read_weights(Path(init))
        other = Architecture.find(init, "model.vision.init", weights=True)
        if other.timm.split(".")[0] != self.architecture.timm.split(".")[0]:
            raise CheckpointError(
                f"model.vision.init: {init} has weights of {other.timm}, not of {self.architecture.name}",
                remedy=f"Set model.vision.architecture to {other.timm}.",
            )
        assert other.folder is not None, "its config.json was read"
        return read_weights(other.folder)

    def load_timm(self, weights: Mapping[str, Tensor], origin: str) -> WeightReport:
        """Load weights by timm's or DeiT's names, or of another layout or size that timm converts.

        A classification head in them is left out; the trunk's own pooling may be missing where it is not used.

        Raises:
            CheckpointError: a tensor is missing or has another shape; the tower is unchanged.
        """
        timms = converted(weights, self.transformer)
        own = self.transformer.state_dict().keys()
        named = {f"transformer.{n}": t for n, t in timms.items() if n in own or not n.startswith(HEADS)}
        unused = tuple(f"transformer.{name}" for name in POOLS) if self.pooling in ("cls", "mean") else ()
        remedy = (
            "Set model.vision.architecture and its sizes to those of the weights; weights with a distillation token "
            "fit an architecture with one only."
        )
        rules = LoadRules(required=lambda name: not name.startswith(unused), place="model.vision", remedy=remedy)
        return load_weights(self, named, origin, rules)

    @property
    def _position_prefix(self) -> int:
        """Number of prefix tokens that have position embeddings."""
        return 0 if getattr(self.transformer, "no_embed_class", False) else self.prefix_tokens

    def _choose_attention(self, plain: bool) -> None:
        """Switch timm's attention between plain matrix products and torch's fused one, when the choice changes."""
        if plain == self._plain_attention:
            return
        for module in self.transformer.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = not plain
        self._plain_attention = plain


def _statistics(section: VisionSection) -> Preprocessing:
    """The preprocessing of the weights that a section names, or of the published weights of its architecture."""
    named = section.init if _has_config(section.init) else section.architecture
    place = "model.vision.init" if named == section.init else "model.vision.architecture"
    return Architecture.find(named, place).preprocessing(section.image_size)


def _has_config(init: str) -> bool:
    """Whether weights come with a config.json: those of the hub, or of a folder in its layout."""
    return is_hub_name(init) or (Path(init) / "config.json").is_file()


def _poolings(trunk: nn.Module, features: Features) -> Iterable[str]:
    yield "mean"
    if features.prefix_tokens and getattr(trunk, "cls_token", None) is not None:
        yield "cls"
    if features.pooled is not None:
        yield "trunk"
        if getattr(trunk, "attn_pool", None) is not None:
            yield "map"


def _require_plain(trunk: nn.Module, architecture: str) -> None:
    if not isinstance(trunk, VisionTransformer):
        raise SpecError(
            f"model.vision: patch_size, layers, width, heads and stem are settings of plain ViTs, and "
            f"{architecture} is a {type(trunk).__name__}",
            remedy="Leave them out, or choose another architecture: timm.list_models('vit_*') or 'deit_*'.",
        )


def _replace_stem(transformer: VisionTransformer) -> None:
    """Replace the linear map of a patch by convolutions."""
    embed = transformer.patch_embed
    embed.proj = ConvolutionalStem(transformer.num_features, embed.patch_size[0])
    nn.init.trunc_normal_(transformer.pos_embed, std=POSITION_STD)
