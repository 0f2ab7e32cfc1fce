"""The image tower: a vision transformer of timm that takes raw pixels and gives all its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from cbalign.data.image import CLIP_MEAN, CLIP_STD
from cbalign.errors import CheckpointError, SpecError
from cbalign.models.attention import prefers_plain
from cbalign.models.stem import POSITION_STD, ConvolutionalStem


class VisionTower(nn.Module):
    """A timm vision transformer without its head; normalisation of pixels is inside.

    Args:
        architecture: name of a timm vision transformer.
        image_size: side of the square input in pixels.
        patch_size, layers, width, heads: override the architecture; None keeps it.
        stem: what makes tokens of pixels; `convolutions` exchanges timm's linear map of a patch.
        drop_path: stochastic depth rate of the last block.

    Raises:
        SpecError: timm has no such transformer, or the sizes do not fit together.
    """

    part_name = "image tower"
    mean: Tensor
    std: Tensor

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
        super().__init__()
        overrides = {"patch_size": patch_size, "depth": layers, "embed_dim": width, "num_heads": heads}
        try:
            self.transformer = timm.create_model(
                architecture,
                img_size=image_size,
                num_classes=0,
                drop_path_rate=drop_path,
                **{name: value for name, value in overrides.items() if value is not None},
            )
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            raise SpecError(f"model.vision: timm cannot build {architecture!r}: {error}") from error
        if not isinstance(self.transformer, timm.models.vision_transformer.VisionTransformer):
            raise SpecError(
                f"model.vision.architecture: {architecture!r} is not a vision transformer",
                remedy="Choose a name that `timm.list_models('vit_*')` or 'deit_*' lists.",
            )
        if stem == "convolutions":
            embed = self.transformer.patch_embed
            embed.proj = ConvolutionalStem(self.transformer.num_features, embed.patch_size[0])
            nn.init.trunc_normal_(self.transformer.pos_embed, std=POSITION_STD)
        self.image_size = image_size
        self.width = cast(int, self.transformer.num_features)
        # Kept out of checkpoints: they are constants of the input format, not weights.
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W), uint8 0..255, to tokens (B, N, D); token 0 is [CLS]."""
        return self.encode((pixels.to(self.mean.dtype) / 255 - self.mean) / self.std)

    def encode(self, normalised: Tensor) -> Tensor:
        """Images (B, 3, H, W) already normalised by mean and standard deviation to tokens (B, N, D)."""
        device = normalised.device.type
        computed_in = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else normalised.dtype
        for block in self.transformer.blocks:
            block.attn.fused_attn = not prefers_plain(normalised.device, computed_in)
        return cast(Tensor, self.transformer.forward_features(normalised))

    def load_timm(self, weights: Mapping[str, Tensor], origin: str) -> None:
        """Take timm's or DeiT's weights, interpolating the position embeddings to this image size.

        Raises:
            CheckpointError: a tensor is missing or has another shape; nothing is loaded then.
        """
        weights = {name: t for name, t in weights.items() if not name.startswith(("head.", "head_dist."))}
        if "pos_embed" in weights:
            if not are_square(weights["pos_embed"]):
                raise CheckpointError(
                    f"{origin}: pos_embed has shape {tuple(weights['pos_embed'].shape)}, not that of a square image "
                    "and one [CLS]",
                    remedy="Give weights of a plain vision transformer, without a distillation token.",
                )
            weights["pos_embed"] = resize_positions(weights["pos_embed"], self.transformer.pos_embed.shape[1])
        own = self.transformer.state_dict()
        wrong = [n for n, t in own.items() if n not in weights or weights[n].shape != t.shape]
        if wrong:
            first = f"{wrong[0]}: {_shape(weights, wrong[0])} in the file, {_shape(own, wrong[0])} here"
            raise CheckpointError(
                f"{origin} does not fit model.vision: {len(wrong)} tensors missing or of another shape, first {first}",
                remedy="Set model.vision.architecture and its sizes to those the weights were made with.",
            )
        self.transformer.load_state_dict({n: weights[n] for n in own})


def _shape(weights: Mapping[str, Tensor], name: str) -> str:
    return str(tuple(weights[name].shape)) if name in weights else "missing"


def are_square(positions: Tensor) -> bool:
    """Whether these are position embeddings (1, 1 + n², D)."""
    return positions.ndim == 3 and round(max(0, positions.shape[1] - 1) ** 0.5) ** 2 + 1 == positions.shape[1] > 1


def resize_positions(positions: Tensor, tokens: int) -> Tensor:
    """Position embeddings (1, 1 + n², D) for another square grid, bicubic, [CLS] kept as it is.

    ALBEF, models/vit.py `interpolate_pos_embed`: no antialiasing, corners not aligned.
    """
    if positions.shape[1] == tokens:
        return positions
    side = round((tokens - 1) ** 0.5)
    return cast(
        Tensor,
        resample_abs_pos_embed(positions, [side, side], num_prefix_tokens=1, interpolation="bicubic", antialias=False),
    )
