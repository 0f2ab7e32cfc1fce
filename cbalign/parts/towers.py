"""Base classes for sections of image and text towers: facts that are known without building a tower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from cbalign.parts.part import Part
from cbalign.parts.preprocessing import PreprocessingSection
from cbalign.parts.section import Effect, setting, subsection
from cbalign.parts.trained import TrainAll, Trained


@dataclass(frozen=True)
class WeightsSource:
    """The source of the initial weights of a tower.

    Args:
        label: its name in messages.
        model: name of the published model, whose licence applies; None for the user's own file.
        path: the local file or folder, which may be missing; None if the weights must be downloaded.
    """

    label: str
    model: str | None = None
    path: str | None = None


class TowerSection(Part):
    """The common base of image and text towers."""

    kind: str = setting(effect=Effect.ARCHITECTURE, help="Kind of tower.")
    train: Trained = subsection(
        TrainAll,
        since="0.2",
        help="How much of the tower is trained: `all`, `frozen`, `lora`, or `{kind: last, blocks: n}`.",
    )
    layer_decay: float = setting(
        1.0,
        gt=0,
        le=1,
        since="0.2",
        effect=Effect.TRAINING,
        help="Learning-rate factor from each block to the one before it; the embeddings have the lowest rate.",
        paper="0.65 to 0.75 for fine-tuning ViTs (BEiT, MAE)",
    )

    @property
    def is_frozen(self) -> bool:
        """Whether nothing of the tower is trained."""
        return self.train.freezes

    @property
    def weights_source(self) -> WeightsSource | None:
        """Return the source of the initial weights; None for random initialisation."""
        return None

    @property
    def starts_from_weights(self) -> bool:
        """Whether the section names initial weights."""
        return self.weights_source is not None


class VisionTowerSection(TowerSection):
    """An image tower.

    `builds` is called with (section, `initialise`: whether to load the weights that the section names) and returns a
    `cbalign.models.tower.VisionTower`.
    """

    if TYPE_CHECKING:
        image_size: int

    def token_count(self) -> int | None:
        """Return the number of tokens per image, prefix tokens included; None if it is known only after building."""
        return None

    def without_weights(self) -> Self:
        """Return the same tower with random initialisation."""
        return self

    def with_preprocessing(self, **parts: object) -> Self:
        """Return the section as a run records it: the preprocessing of the weights is replaced by what it is.

        Args:
            parts: `mean`, `std`, `interpolation`, `fit` and `crop` of the tower that was built.
        """
        chosen: PreprocessingSection | None = getattr(self, "preprocessing", None)
        if chosen is None or not chosen.of_weights:
            return self
        return self.model_copy(update={"preprocessing": chosen.model_copy(update=parts)})


@dataclass(frozen=True)
class TokenizerSettings:
    """The tokenizer of a text tower, with its truncation and special tokens.

    Args:
        max_tokens, max_words: maximum length of a text.
        pretrained: folder or name of the published model that provides the tokenizer; None trains a WordPiece
            vocabulary on the training texts.
        vocabulary: maximum size of a trained vocabulary.
        closing_sep: whether to end a text with [SEP].
        own_form: whether the published model's tokenizer keeps its own normalisation and special tokens; else it has to
            be a BERT's, and captions are normalised as in ALBEF.
    """

    max_tokens: int
    max_words: int
    pretrained: str | None = None
    vocabulary: int = 8000
    closing_sep: bool = False
    own_form: bool = False


class TextTowerSection(TowerSection):
    """A text tower with its tokenizer.

    `builds` is called with (section, size of the tokenizer's vocabulary, `initialise`) and returns a
    `cbalign.models.tower.TextTower`.
    """

    if TYPE_CHECKING:
        max_tokens: int
        max_words: int

    def tokenizer_settings(self) -> TokenizerSettings:
        """Return the settings of the tower's tokenizer."""
        return TokenizerSettings(self.max_tokens, self.max_words)

    @property
    def lacks_mask_token(self) -> bool:
        """Whether the tokenizer is known to have no mask token, which masked language modelling needs."""
        return False

    @property
    def trains_vocabulary(self) -> bool:
        """Whether the vocabulary is trained on the training texts."""
        return self.tokenizer_settings().pretrained is None

    @property
    def largest_vocabulary(self) -> int | None:
        """Maximum vocabulary size if it is trained on the captions; None otherwise."""
        return self.tokenizer_settings().vocabulary if self.trains_vocabulary else None
