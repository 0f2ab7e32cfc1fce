"""Sizes of the published towers, by name or from a file, without building a model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cbalign.errors import CheckpointError

MINILM = "all-minilm-l6-v2"


@dataclass(frozen=True)
class BertConfig:
    """The sizes of a BERT. `layers` counts all layers of the published model; a tower may use fewer."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    intermediate: int
    positions: int = 512
    types: int = 2
    norm_eps: float = 1e-12
    initializer_range: float = 0.02


BERTS = {
    "bert-base-uncased": BertConfig(vocabulary=30522, width=768, layers=12, heads=12, intermediate=3072),
    "bert-mini": BertConfig(vocabulary=30522, width=256, layers=4, heads=4, intermediate=1024),
    MINILM: BertConfig(vocabulary=30522, width=384, layers=6, heads=12, intermediate=1536),
}


def read_bert_config(path: Path) -> BertConfig:
    """Read sizes from a BERT's config.json.

    Raises:
        CheckpointError: the file is missing or does not describe a BERT.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return BertConfig(
            vocabulary=raw["vocab_size"],
            width=raw["hidden_size"],
            layers=raw["num_hidden_layers"],
            heads=raw["num_attention_heads"],
            intermediate=raw["intermediate_size"],
            positions=raw["max_position_embeddings"],
            types=raw.get("type_vocab_size", 2),
            norm_eps=raw.get("layer_norm_eps", 1e-12),
            initializer_range=raw.get("initializer_range", 0.02),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a BERT configuration: {error!r}") from error


def read_vocabulary_size(path: Path) -> int:
    """Read the rows of word embeddings from the config.json of a text model, or of a model of images and texts.

    Raises:
        CheckpointError: the file is missing or does not describe such a model.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return int(raw["vocab_size"] if "vocab_size" in raw else raw["text_config"]["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not the configuration of a text model: {error!r}") from error


def stem_channels(width: int, patch_size: int) -> tuple[int, ...]:
    """Return the channels after each stem convolution: each halves the image; channels double up to the token width.

    Xiao et al. (2021, "Early convolutions help transformers see better", appendix A), for any patch of 2ⁿ pixels.
    """
    halvings = patch_size.bit_length() - 1
    return tuple(max(1, width >> left) for left in reversed(range(halvings)))
