"""Image towers from timm: vision transformers with a class token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, cast

import timm
import torch
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from cbalign.data.image import CLIP_MEAN, CLIP_STD, Preprocessing
from cbalign.errors import CheckpointError, SpecError
from cbalign.models.attention import prefers_plain
from cbalign.models.pretrained import read_weights
from cbalign.models.sections.timm import VisionSection
from cbalign.models.stem import POSITION_STD, ConvolutionalStem
from cbalign.models.tower import VisionTower
from cbalign.models.weights import LoadRules, WeightReport, load_weights

POSITIONS = "transformer.pos_embed"
HEADS = ("head.", "head_dist.")  # of classification, in published weights


class TimmVisionTower(VisionTower):
    """A vision transformer from timm without its head.

    Args:
        architecture: name of a timm vision transformer.
        image_size: side of the square input in pixels.
        patch_size, layers, width, heads: override the architecture; None keeps it.
        stem: how pixels become tokens; `convolutions` replaces timm's linear map of a patch.
        drop_path: stochastic depth rate of the last block.

    Raises:
        SpecError: timm has no such transformer, it has no class token, or the sizes do not fit together.
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
    ) -> None:
        overrides = {"patch_size": patch_size, "depth": layers, "embed_dim": width, "num_heads": heads}
        transformer = _create(
            architecture,
            img_size=image_size,
            drop_path_rate=drop_path,
            **{name: value for name, value in overrides.items() if value is not None},
        )
        if stem == "convolutions":
            embed = transformer.patch_embed
            embed.proj = ConvolutionalStem(transformer.num_features, embed.patch_size[0])
            nn.init.trunc_normal_(transformer.pos_embed, std=POSITION_STD)
        statistics = Preprocessing(image_size, CLIP_MEAN, CLIP_STD)
        super().__init__(transformer.num_features, statistics, prefix_tokens=transformer.num_prefix_tokens)
        self.transformer = transformer
        self._plain_attention: bool | None = None

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
        )
        source = section.weights_source
        if initialise and source is not None:
            weights = _published(section.architecture) if source.path is None else read_weights(Path(source.path))
            tower.load_timm(weights, source.label)
        return tower

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The transformer's blocks, first to last."""
        return cast(nn.ModuleList, self.transformer.blocks)

    def encode(self, normalised: Tensor) -> Tensor:
        """Images (B, 3, H, W), already normalised, to tokens (B, N, D): class token, registers, patches."""
        device = normalised.device.type
        computed_in = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else normalised.dtype
        self._choose_attention(prefers_plain(normalised.device, computed_in))
        return cast(Tensor, self.transformer.forward_features(normalised))

    def pool(self, tokens: Tensor) -> Tensor:
        """The class token (B, D)."""
        return tokens[:, 0]

    def adapt(self, name: str, given: Tensor, own: Tensor) -> Tensor | None:
        """Interpolate the position embeddings of another image size."""
        prefix = self._position_prefix
        if name != POSITIONS or given.shape[2:] != own.shape[2:] or not are_square(given, prefix):
            return None
        return resize_positions(given.float(), own.shape[1], prefix).to(own.dtype)

    def load_timm(self, weights: Mapping[str, Tensor], origin: str) -> WeightReport:
        """Load weights by timm's or DeiT's names; a classification head in them is left out.

        Raises:
            CheckpointError: a tensor is missing or has another shape; the tower is unchanged.
        """
        named = {f"transformer.{name}": t for name, t in weights.items() if not name.startswith(HEADS)}
        remedy = (
            "Set model.vision.architecture and its sizes to those of the weights; weights with a distillation token "
            "fit an architecture with one only."
        )
        return load_weights(self, named, origin, LoadRules(place="model.vision", remedy=remedy))

    @property
    def _position_prefix(self) -> int:
        """Number of prefix tokens that have position embeddings."""
        return 0 if self.transformer.no_embed_class else self.prefix_tokens

    def _choose_attention(self, plain: bool) -> None:
        """Switch timm's attention between plain matrix products and torch's fused one, when the choice changes."""
        if plain == self._plain_attention:
            return
        for module in self.transformer.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = not plain
        self._plain_attention = plain


def _create(architecture: str, **settings: object) -> VisionTransformer:
    """A transformer of timm's with a class token."""
    try:
        transformer = timm.create_model(architecture, num_classes=0, **settings)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise SpecError(f"model.vision: timm cannot build {architecture!r}: {error}") from error
    if not isinstance(transformer, VisionTransformer):
        raise SpecError(
            f"model.vision.architecture: {architecture!r} is not a vision transformer",
            remedy="Choose a name that `timm.list_models('vit_*')` or 'deit_*' lists.",
        )
    if transformer.cls_token is None:
        raise SpecError(
            f"model.vision.architecture: {architecture!r} has no class token, which is the image's embedding here",
            remedy="Choose a vision transformer with a class token, such as vit_base_patch16_224 or "
            "vit_base_patch14_dinov2.",
        )
    return transformer


def _published(architecture: str) -> dict[str, Tensor]:
    try:
        published: nn.Module = timm.create_model(architecture, pretrained=True, num_classes=0)
    except Exception as error:  # timm and the hub client raise many kinds
        raise CheckpointError(
            f"model.vision.init: the weights of {architecture} cannot be fetched: {str(error).splitlines()[0]}",
            remedy="Check the network, set init to a local file of timm weights, or set init: random.",
        ) from error
    return dict(published.state_dict())


def are_square(positions: Tensor, prefix: int = 1) -> bool:
    """Whether these are position embeddings (1, prefix + n², D)."""
    if positions.ndim != 3 or positions.shape[1] <= prefix:
        return False
    patches = positions.shape[1] - prefix
    return round(patches**0.5) ** 2 == patches


def resize_positions(positions: Tensor, tokens: int, prefix: int = 1) -> Tensor:
    """Interpolate position embeddings (1, prefix + n², D) to `tokens` tokens on another square grid.

    Bicubic, as in ALBEF (models/vit.py, `interpolate_pos_embed`): no antialiasing, corners not aligned. The embeddings
    of prefix tokens are unchanged.
    """
    if positions.shape[1] == tokens:
        return positions
    side = round((tokens - prefix) ** 0.5)
    return cast(
        Tensor,
        resample_abs_pos_embed(
            positions, [side, side], num_prefix_tokens=prefix, interpolation="bicubic", antialias=False
        ),
    )
