"""A small image tower."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cbalign.data.image import Preprocessing
from cbalign.models.tower import VisionTower
from cbalign_example.sections import PatchifySection


class Patchify(VisionTower):
    """One linear map per patch, learned positions and a residual layer; no class token, mean pooling.

    Args:
        image_size: side of the square input, in pixels.
        patch_size: side of a patch, in pixels.
        width: dimension D of a token.
    """

    def __init__(self, image_size: int, patch_size: int, width: int) -> None:
        super().__init__(width, Preprocessing(image_size))
        self.patches = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.positions = nn.Parameter(0.02 * torch.randn((image_size // patch_size) ** 2, width))
        self.layer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    @classmethod
    def from_section(cls, section: PatchifySection, initialise: bool) -> Patchify:
        """Build the tower that a spec describes; it has no published weights to load."""
        return cls(section.image_size, section.patch_size, section.width)

    def encode(self, normalised: Tensor) -> Tensor:
        """Turn normalised images (B, 3, H, W) into tokens (B, N, D)."""
        tokens = self.patches(normalised).flatten(2).transpose(1, 2) + self.positions
        return tokens + self.layer(tokens)
