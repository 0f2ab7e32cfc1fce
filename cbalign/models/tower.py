"""The interface of image towers and text towers.

A part of the group `cbalign.towers` builds a subclass of `VisionTower` or `TextTower`. All other code uses a tower
through these classes, so that it works with any tower.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor, nn

from cbalign.data.image import Preprocessing
from cbalign.experiment.architectures import BertConfig
from cbalign.parts.origin import origin_of_module
from cbalign.parts.results import require_type, wrong_result

if TYPE_CHECKING:
    from cbalign.models.bert import FusionEncoder, MaskedLanguageHead
    from cbalign.models.bert_layers import BertEmbeddings

HEAD_WIDTH = 64  # of BERT's attention heads
HALF_MAX = torch.finfo(torch.float16).max

KeptFeatures = Literal["tokens", "pooled"]
"""What is kept of an image: all tokens (N, D), or the pooled vector (D,) where nothing reads tokens."""


class Tower(nn.Module):
    """A network that turns an image or a text into tokens.

    Args:
        width: dimension D of a token.
    """

    layer_decay = 1.0
    """Learning-rate factor from each block to the one before it."""

    frozen = False
    """Whether nothing of the tower is trained; student and teacher then share it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self._still: Sequence[nn.Module] = ()

    def freeze(self) -> None:
        """Train nothing of the tower, and keep it in evaluation mode."""
        self.frozen = True
        self.requires_grad_(False)
        self.eval()

    def keep_still(self, modules: Sequence[nn.Module]) -> None:
        """Keep some of the tower's modules in evaluation mode: no dropout, no statistics of the batch."""
        self._still = tuple(modules)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode, except for what is frozen."""
        super().train(mode and not self.frozen)
        for module in self._still:
            module.eval()
        return self

    @property
    def pooled_width(self) -> int:
        """Dimension of the vector that `pool` returns, which may differ from that of a token."""
        return self.width

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The repeated blocks, first to last, each of which is used only through its forward pass.

        FSDP2 shards them one at a time.
        """
        return ()

    def adapt(self, name: str, given: Tensor, own: Tensor) -> Tensor | None:
        """Convert a tensor of another shape from a file of weights, such as position embeddings of another image size.

        Args:
            name: of the tensor in the tower's state dict.
            given: the tensor in the file.
            own: the tower's tensor.

        Returns:
            A tensor of `own`'s shape, or None if `given` cannot be converted.
        """
        return None


class VisionTower(Tower):
    """An image tower. Subclasses implement `encode`; pixels are normalised here.

    Args:
        width: dimension D of a token.
        preprocessing: how images become pixels, and their statistics.
        prefix_tokens: number of tokens in front of the patches, such as a class token and registers.
    """

    part_name = "image tower"
    mean: Tensor
    std: Tensor

    kept: KeptFeatures | None = None
    """The features of this frozen tower that are kept on disk; `forward` then returns them as they are kept."""

    def __init__(self, width: int, preprocessing: Preprocessing, prefix_tokens: int = 0) -> None:
        super().__init__(width)
        self.preprocessing = preprocessing
        self.prefix_tokens = prefix_tokens
        # Not in checkpoints: they are constants of the input format, not weights.
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1), persistent=False)

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return self.preprocessing.size

    def forward(self, images: Tensor) -> Tensor:
        """Pixels (B, 3, H, W), uint8 0..255, to tokens (B, N, D).

        Features that were computed before, (B, N, D) or pooled (B, D), take the place of pixels and are returned.
        """
        if images.ndim < 4:
            return images.to(self.mean.dtype)
        if self.kept is not None:
            return self.compute_features(images, self.kept).to(self.mean.dtype)
        return self.encode(self.normalise(images))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W), uint8 0..255, to values with the mean and standard deviation of the weights."""
        return (pixels.to(self.mean.dtype) / 255 - self.mean) / self.std

    @torch.no_grad()
    def compute_features(self, pixels: Tensor, kept: KeptFeatures) -> Tensor:
        """Features of pixels (B, 3, H, W) as they are kept: float16 tokens (B, N, D), or pooled vectors (B, D).

        They are computed in float32 whatever the training's precision, so that they depend on the batch size by
        rounding errors only.
        """
        with torch.autocast(pixels.device.type, enabled=False):
            # Convolutions on a CPU are about 1.5 times as fast in this memory format.
            normalised = self.normalise(pixels).contiguous(memory_format=torch.channels_last)
            tokens = self.encode(normalised)
            found = self.pool(tokens) if kept == "pooled" else tokens
        return _as_kept(found)

    def encode(self, normalised: Tensor) -> Tensor:
        """Images (B, 3, H, W), already normalised by mean and standard deviation, to tokens (B, N, D)."""
        raise NotImplementedError

    @property
    def class_names(self) -> Sequence[Sequence[str]]:
        """The names of the C classes that the published weights were trained to tell apart; none if unknown."""
        return ()

    def classifier(self, init: str) -> Tensor | None:
        """Read the matrix (C, `pooled_width`) with which the weights that `init` names classify pooled vectors."""
        return None

    def pool(self, tokens: Tensor) -> Tensor:
        """One vector (B, `pooled_width`) per image, from its tokens (B, N, D): by default the mean over the patches."""
        return tokens[:, self.prefix_tokens :].mean(dim=1)


def _as_kept(features: Tensor) -> Tensor:
    """Round features to float16, in which they are kept."""
    return features.clamp(-HALF_MAX, HALF_MAX).half()


def check_towers(vision: VisionTower, text: TextTower, token_count: int | None) -> None:
    """Encode a black image and one token with towers of other distributions, to check the shapes that they return.

    Args:
        vision, text: the towers, newly built.
        token_count: tokens per image, as the section of the image tower declares; None if it does not.

    Raises:
        PartError: a tower returns something else than tokens of its width.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        if origin_of_module(type(vision).__module__) is not None:
            size = vision.image_size
            pixels = torch.zeros(1, 3, size, size, dtype=torch.uint8, device=vision.mean.device)
            tokens = vision.eval()(pixels)
            _check_tokens(vision.train(), "encode", tokens, token_count)
        if origin_of_module(type(text).__module__) is not None:
            ids = torch.ones(1, 3, dtype=torch.int64, device=text.word_embeddings.device)
            tokens = text.eval()(ids, ids)
            _check_tokens(text.train(), "forward", tokens, 3)


def _check_tokens(tower: Tower, call: str, tokens: object, count: int | None) -> None:
    require_type(tower, call, tokens, Tensor)
    assert isinstance(tokens, Tensor)
    shape, wanted = tuple(tokens.shape), (1, count or "N", tower.width)
    if len(shape) != 3 or shape[0] != 1 or shape[2] != tower.width or (count is not None and shape[1] != count):
        expected = f"({', '.join(map(str, wanted))})"
        raise wrong_result(tower, call, f"returned tokens of shape {shape} for one input, not {expected}")


class TextTower(Tower):
    """A text tower. Subclasses implement `forward` and `word_embeddings`.

    Args:
        width: dimension D of a token.
        vocabulary: number of tokens that the tokenizer knows.
        dropout: also of the fusion layers that follow the tower.
    """

    part_name = "text tower"

    kept: KeptFeatures | None = None
    """The features of this frozen tower that are kept on disk; a call then returns them as they are kept."""

    def __init__(self, width: int, vocabulary: int, dropout: float = 0.0) -> None:
        super().__init__(width)
        self.vocabulary = vocabulary
        self.dropout = dropout

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute tokens (B, L, D) of token ids (B, L); as they are kept, or pooled (B, D), where they are kept."""
        if self.kept is not None:
            return self.compute_features(input_ids, attention_mask, self.kept).to(torch.get_default_dtype())
        return super().__call__(input_ids, attention_mask)

    @torch.no_grad()
    def compute_features(self, input_ids: Tensor, attention_mask: Tensor, kept: KeptFeatures) -> Tensor:
        """Features of token ids (B, L) as they are kept: float16 tokens (B, L, D), or pooled vectors (B, D).

        They are computed in float32 whatever the training's precision, so that they depend on batch size and padding
        by rounding errors only.
        """
        with torch.autocast(input_ids.device.type, enabled=False):
            tokens = super().__call__(input_ids, attention_mask)
            found = self.pool(tokens, attention_mask) if kept == "pooled" else tokens
        return _as_kept(found)

    @property
    def word_embeddings(self) -> Tensor:
        """The word matrix (V, D), which is the output matrix of a masked-language head as well."""
        raise NotImplementedError

    @property
    def layer_config(self) -> BertConfig:
        """Sizes of the BERT layers that read this tower's tokens: fusion layers, masked-language head, decoder."""
        return BertConfig(
            self.vocabulary, self.width, layers=0, heads=heads_for(self.width), intermediate=4 * self.width
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask (B, L), int64, to tokens (B, L, D)."""
        raise NotImplementedError

    def pool(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector (B, D) per text, from its tokens (B, L, D): by default the mean, without padding."""
        weights = attention_mask.to(tokens.dtype)[:, :, None]
        return (tokens * weights).sum(dim=1) / weights.sum(dim=1)

    def initialise_fusion(self, fusion: FusionEncoder) -> None:
        """Load the published weights of the layers that follow the tower; by default they stay at random."""

    def release_published(self) -> None:
        """Forget published weights that were held for the layers that follow the tower."""

    def initialise_head(self, head: MaskedLanguageHead) -> None:
        """Load the published weights of a masked-language head; by default it stays at random."""

    def initialise_embeddings(self, embeddings: BertEmbeddings) -> None:
        """Copy the tower's embeddings to those of a BERT decoder; by default they stay at random."""


def heads_for(width: int) -> int:
    """Return the number of heads that divides a width and whose own width is nearest to BERT's."""
    return min((n for n in range(1, width + 1) if width % n == 0), key=lambda n: (abs(width // n - HEAD_WIDTH), n))
