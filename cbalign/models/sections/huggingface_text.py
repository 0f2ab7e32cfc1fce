"""Text towers of transformers in a spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from cbalign.data.published import local_folder
from cbalign.parts import Effect, TextTowerSection, TokenizerSettings, WeightsSource, setting

ARCHITECTURE, INITIALISATION, TRAINING = Effect.ARCHITECTURE, Effect.INITIALISATION, Effect.TRAINING

NO_LIMIT = 1_000_000  # of words
_WITHOUT_MASK = ("clip", "clip_text_model", "siglip", "siglip_text_model", "t5")
"""Types of models whose tokenizers have no mask token, unless their files name one."""


class HuggingFaceTextSection(TextTowerSection):
    """The text tower: an encoder of transformers with its own tokenizer."""

    builds = "cbalign.models.huggingface_text:HuggingFaceTextTower.from_section"

    kind: Literal["huggingface"] = setting(effect=ARCHITECTURE, help="Kind of text tower.")
    architecture: str = setting(
        effect=ARCHITECTURE,
        path="maybe",
        help="A folder in the layout of the Hugging Face hub, or a name on the hub: `org/name` or `hf://org/name`. "
        "BERT, DistilBERT, RoBERTa, MPNet, XLM-R, ModernBERT, CLIP, SigLIP, T5 and similar encoders.",
    )
    layers: int | None = setting(
        None, ge=1, le=1_000, effect=ARCHITECTURE, help="Use only the first n layers; null: all."
    )
    init: Literal["pretrained", "random"] = setting(
        "pretrained", effect=INITIALISATION, help="Initialise with the published weights or at random."
    )
    pooling: Literal["first", "mean", "end", "trunk"] | None = setting(
        None,
        effect=ARCHITECTURE,
        help="Pooling before the projection: the first token, the mean of all tokens, the last token of the text, or "
        "the model's own pooled vector; null: `trunk` for CLIP and SigLIP, `mean` for others.",
    )
    dropout: float | None = setting(
        None, ge=0, lt=1, effect=TRAINING, help="Dropout in text and fusion layers; null: the architecture's."
    )
    max_tokens: int = setting(
        64, ge=3, le=1_048_576, effect=Effect.DATA, help="Maximum length of a text in tokens, including special tokens."
    )

    @property
    def weights_source(self) -> WeightsSource | None:
        """Return the published weights, or None."""
        if self.init == "random":
            return None
        return WeightsSource(self.architecture, model=self.architecture, path=self.architecture)

    def tokenizer_settings(self) -> TokenizerSettings:
        """Return the published model's own tokenizer."""
        return TokenizerSettings(self.max_tokens, NO_LIMIT, pretrained=self.architecture, own_form=True)

    @property
    def lacks_mask_token(self) -> bool:
        """Whether the model's files, if they are on this machine, say that the tokenizer has no mask token."""
        folder = local_folder(self.architecture)
        if folder is None:
            return False
        tokens = _read(folder / "special_tokens_map.json") | _read(folder / "tokenizer_config.json")
        return tokens.get("mask_token") is None and _read(folder / "config.json").get("model_type") in _WITHOUT_MASK


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # reported where the file is needed
    return found if isinstance(found, dict) else {}
