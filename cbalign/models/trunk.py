"""Feature maps as tokens, and the check of a pooling."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast, get_args

from timm.layers import resample_abs_pos_embed
from torch import Tensor

from cbalign.errors import SpecError
from cbalign.models.sections.vision import Pooling


def map_tokens(features: Tensor, channels_last: bool) -> Tensor:
    """Convert a feature map (B, C, H, W), or (B, H, W, C), to tokens (B, H·W, C), row by row."""
    return features.flatten(1, 2) if channels_last else features.flatten(2).transpose(1, 2)


def token_map(tokens: Tensor, channels_last: bool) -> Tensor:
    """Convert tokens of a square map back to it: the inverse of `map_tokens`."""
    side = round(tokens.shape[1] ** 0.5)
    return tokens.unflatten(1, (side, side)) if channels_last else tokens.transpose(1, 2).unflatten(2, (side, side))


def resize_positions(positions: Tensor, tokens: int, prefix: int = 1, *, antialias: bool = False) -> Tensor:
    """Interpolate position embeddings (1, prefix + n², D) to `tokens` tokens on another square grid.

    Bicubic, by default as in ALBEF (models/vit.py, `interpolate_pos_embed`): no antialiasing, corners not aligned. The
    embeddings of prefix tokens are unchanged.
    """
    if positions.shape[1] == tokens:
        return positions
    side = round((tokens - prefix) ** 0.5)
    return cast(
        Tensor,
        resample_abs_pos_embed(
            positions, [side, side], num_prefix_tokens=prefix, interpolation="bicubic", antialias=antialias
        ),
    )


def are_square(positions: Tensor, prefix: int = 1) -> bool:
    """Whether these are position embeddings (1, prefix + n², D)."""
    if positions.ndim != 3 or positions.shape[1] <= prefix:
        return False
    patches = positions.shape[1] - prefix
    return round(patches**0.5) ** 2 == patches


def check_pooling(pooling: Pooling, available: Iterable[str], model: str) -> None:
    """Check that a model has a pooling.

    Args:
        pooling: `model.vision.pooling`.
        available: the poolings that it has.
        model: its name in messages.

    Raises:
        SpecError: it does not.
    """
    possible = set(available)
    found = [name for name in get_args(Pooling) if name in possible]
    if pooling not in found:
        missing = {
            "cls": "no class token",
            "map": "no attention pooling",
            "trunk": "no pooling of its own that cbalign knows",
        }
        raise SpecError(
            f"model.vision.pooling: {pooling}, but {model} has {missing.get(pooling, 'no tokens of patches')}",
            remedy=f"Set model.vision.pooling to {' or '.join(found)}.",
        )
