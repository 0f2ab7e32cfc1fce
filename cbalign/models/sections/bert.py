"""The BERT text tower in a spec."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from cbalign.models.sections.sizes import check_heads
from cbalign.parts import Effect, RuleError, TextTowerSection, TokenizerSettings, WeightsSource, setting

ARCHITECTURE, INITIALISATION, TRAINING = Effect.ARCHITECTURE, Effect.INITIALISATION, Effect.TRAINING


class TextSection(TextTowerSection):
    """The text tower: the first layers of a BERT."""

    builds = "cbalign.models.bert:BertTextTower.from_section"

    kind: Literal["bert"] = setting("bert", effect=ARCHITECTURE, since="0.2", help="Kind of text tower.")
    architecture: str = setting(
        "bert-base-uncased",
        effect=ARCHITECTURE,
        path="maybe",
        help="A built-in BERT (`bert-base-uncased`, `all-minilm-l6-v2`, `bert-mini`), a folder with config.json, "
        "or a hub name.",
        paper="BERT-base uncased (ALBEF)",
    )
    layers: int = setting(6, ge=1, le=1_000, effect=ARCHITECTURE, help="Layers of the text tower.", paper="6 (ALBEF)")
    width: int | None = setting(
        None, ge=8, le=1_048_576, effect=ARCHITECTURE, help="Width of a token; null: the architecture's."
    )
    heads: int | None = setting(
        None, ge=1, le=16_384, effect=ARCHITECTURE, help="Attention heads; null: the architecture's."
    )
    intermediate: int | None = setting(
        None,
        ge=8,
        le=1_048_576,
        effect=ARCHITECTURE,
        help="Width of the feed-forward layer; null: the architecture's.",
    )
    dropout: float = setting(
        0.1, ge=0, lt=1, effect=TRAINING, help="Dropout in text and fusion layers.", paper="0.1 (BERT)"
    )
    init: Literal["pretrained", "random"] = setting(
        "pretrained",
        effect=INITIALISATION,
        help="Initialise with the architecture's published weights or at random.",
    )
    tokenizer: Literal["pretrained", "captions"] = setting(
        "pretrained",
        effect=ARCHITECTURE,
        help="`pretrained`: the architecture's own tokenizer; `captions`: a WordPiece vocabulary trained on the "
        "training captions.",
    )
    vocabulary: int = setting(
        8000, ge=64, le=10_000_000, effect=ARCHITECTURE, help="Maximum size of a vocabulary trained on the captions."
    )
    max_tokens: int = setting(
        25,
        ge=3,
        le=512,
        effect=Effect.DATA,
        help="Maximum caption length in tokens, including [CLS].",
        paper="25, retrieval 30 (ALBEF)",
    )
    max_words: int = setting(
        30, ge=1, le=1_000_000, effect=Effect.DATA, help="Maximum caption length in words.", paper="30 (ALBEF)"
    )
    closing_sep: bool = setting(
        False,
        effect=Effect.DATA,
        help="End captions with [SEP]. ALBEF's weights expect no [SEP].",
        paper="no (ALBEF)",
    )
    pooling: Literal["cls", "mean"] = setting(
        "cls",
        effect=ARCHITECTURE,
        help="Pooling before the projection: the [CLS] vector or the mean of all tokens.",
        paper="cls (ALBEF)",
    )

    @model_validator(mode="after")
    def _init_fits_the_rest(self) -> TextSection:
        check_heads(self.width, self.heads)
        changed = [name for name in ("width", "heads", "intermediate") if getattr(self, name) is not None]
        if self.init == "pretrained" and changed:
            raise RuleError(
                f"{' and '.join(changed)} cannot be changed with init: pretrained; set init: random",
                at=(*changed, "init"),
            )
        if self.init == "pretrained" and self.tokenizer == "captions":
            raise RuleError(
                "tokenizer: captions trains a new vocabulary, which requires init: random", at=("tokenizer",)
            )
        return self

    @property
    def weights_source(self) -> WeightsSource | None:
        """Return the architecture's published weights, or None."""
        if self.init == "random":
            return None
        return WeightsSource(self.architecture, model=self.architecture, path=self.architecture)

    def tokenizer_settings(self) -> TokenizerSettings:
        """Return the architecture's own tokenizer, or a vocabulary trained on the captions."""
        return TokenizerSettings(
            self.max_tokens,
            self.max_words,
            pretrained=self.architecture if self.tokenizer == "pretrained" else None,
            vocabulary=self.vocabulary,
            closing_sep=self.closing_sep,
        )
