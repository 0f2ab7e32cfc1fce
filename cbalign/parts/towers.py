"""Sections of image towers and text towers: what everybody may know of a tower without building it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from cbalign.parts.part import Part


@dataclass(frozen=True)
class WeightsSource:
    """Where the initial weights of a tower come from.

    Args:
        label: what messages call it.
        model: name of the published model, whose licence applies; None for a file of the user's own.
        path: the local file or folder, which may be missing; None if the weights can only be fetched.
    """

    label: str
    model: str | None = None
    path: str | None = None


class TowerSection(Part):
    """What image towers and text towers share."""

    if TYPE_CHECKING:
        kind: str

    @property
    def weights_source(self) -> WeightsSource | None:
        """The weights that the tower starts from; None if it starts at random."""
        return None

    @property
    def starts_from_weights(self) -> bool:
        """Whether the section names weights to start from."""
        return self.weights_source is not None


class VisionTowerSection(TowerSection):
    """An image tower.

    `builds` is called with (section, `initialise`: whether to load the weights that the section names) and returns a
    `cbalign.models.tower.VisionTower`.
    """

    if TYPE_CHECKING:
        image_size: int

    def token_count(self) -> int | None:
        """Number of tokens of an image, prefix tokens included; None if only the built tower knows it."""
        return None

    def without_weights(self) -> Self:
        """The same tower with random initial values."""
        return self


@dataclass(frozen=True)
class TokenizerSettings:
    """Which tokenizer a text tower reads with, and how it truncates and frames texts.

    Args:
        max_tokens, max_words: longest text.
        pretrained: folder or name of the published model whose tokenizer is used; None trains a WordPiece vocabulary
            on the training texts.
        vocabulary: largest size of a trained vocabulary.
        closing_sep: end a text in [SEP].
    """

    max_tokens: int
    max_words: int
    pretrained: str | None = None
    vocabulary: int = 8000
    closing_sep: bool = False


class TextTowerSection(TowerSection):
    """A text tower with its tokenizer.

    `builds` is called with (section, number of tokens that the tokenizer knows, `initialise`) and returns a
    `cbalign.models.tower.TextTower`.
    """

    if TYPE_CHECKING:
        max_tokens: int
        max_words: int

    def tokenizer_settings(self) -> TokenizerSettings:
        """The tokenizer that the tower reads with."""
        return TokenizerSettings(self.max_tokens, self.max_words)

    @property
    def trains_vocabulary(self) -> bool:
        """Whether the vocabulary is trained on the training texts."""
        return self.tokenizer_settings().pretrained is None

    @property
    def largest_vocabulary(self) -> int | None:
        """Largest number of tokens, if the vocabulary is trained on the captions; None if it is known beforehand."""
        return self.tokenizer_settings().vocabulary if self.trains_vocabulary else None
