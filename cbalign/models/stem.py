"""Convolutions in front of a vision transformer: the one place where an image tower is not timm's."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from cbalign.experiment.architectures import stem_channels

POSITION_STD = 0.1
"""Of position embeddings behind a stem, at the start: about what its tokens of two images differ by.

With timm's 0.02, tokens of a training of a few thousand steps hardly tell where they are.
"""


class Halving(nn.Module):
    """3x3 convolution of stride 2, norm, ReLU.

    Xiao et al. have batch norm here. Norm over one image at a time keeps images independent of their neighbours,
    in training on several processes too, and leaves a teacher nothing but weights to follow.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, channels, 3, stride=2, padding=1, bias=False)
        self.norm = nn.GroupNorm(1, channels)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, channels, H / 2, W / 2)."""
        return F.relu(self.norm(self.convolution(image)))


class ConvolutionalStem(nn.Module):
    """Halves an image until a pixel is a token (Xiao et al., 2021, "Early convolutions help transformers see better").

    Args:
        width: of a token.
        patch_size: pixels a side that become one token, a power of two.
    """

    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        channels = (3, *stem_channels(width, patch_size))
        self.halvings = nn.Sequential(*(Halving(*pair) for pair in pairwise(channels)))
        self.projection = nn.Conv2d(width, width, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) to (B, width, H / patch_size, W / patch_size)."""
        tokens: Tensor = self.projection(self.halvings(image))
        return tokens
