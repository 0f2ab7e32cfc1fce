"""The same tensor under its three names: Hugging Face's BERT, ALBEF's (and TCL's) files, and ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

# Parts of a BERT layer: Hugging Face's name, our name.
LAYER_PARTS = (
    ("attention.self.query", "attention.query"),
    ("attention.self.key", "attention.key"),
    ("attention.self.value", "attention.value"),
    ("attention.output.dense", "attention.output"),
    ("attention.output.LayerNorm", "attention.norm"),
    ("crossattention.self.query", "cross_attention.query"),
    ("crossattention.self.key", "cross_attention.key"),
    ("crossattention.self.value", "cross_attention.value"),
    ("crossattention.output.dense", "cross_attention.output"),
    ("crossattention.output.LayerNorm", "cross_attention.norm"),
    ("intermediate.dense", "feed_forward.expand"),
    ("output.dense", "feed_forward.contract"),
    ("output.LayerNorm", "feed_forward.norm"),
)
EMBEDDINGS = (
    ("word_embeddings", "words"),
    ("position_embeddings", "positions"),
    ("token_type_embeddings", "types"),
    ("LayerNorm", "norm"),
)
HEAD = (
    ("predictions.transform.dense.", "transform."),
    ("predictions.transform.LayerNorm.", "norm."),
    ("predictions.bias", "bias"),
)
# BERT's oldest files say gamma and beta.
OLD_SUFFIXES = ((".gamma", ".weight"), (".beta", ".bias"))


def canonical_bert(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A BERT's tensors without the prefix `bert.` and with today's suffixes."""
    named: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        name = name.removeprefix("bert.")
        for old, new in OLD_SUFFIXES:
            if name.endswith(old):
                name = name.removesuffix(old) + new
        named[name] = tensor
    return named


def bert_layers(weights: Iterable[str]) -> int:
    """How many layers tensors of these names make up."""
    found = [int(m[1]) for name in weights if (m := re.match(r"encoder\.layer\.(\d+)\.", name))]
    return max(found, default=-1) + 1


def embeddings_from_bert(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our `embeddings.*` of a canonical BERT."""
    return {
        f"embeddings.{ours}.{kind}": weights[f"embeddings.{theirs}.{kind}"]
        for theirs, ours in EMBEDDINGS
        for kind in ("weight", "bias")
        if f"embeddings.{theirs}.{kind}" in weights
    }


def layers_from_bert(weights: Mapping[str, Tensor], first: int, count: int) -> dict[str, Tensor]:
    """Our `layers.0.*` … from a canonical BERT's layers `first` …; cross-attention where the file has it."""
    return {
        f"layers.{i}.{ours}.{kind}": weights[theirs_full]
        for i in range(count)
        for theirs, ours in LAYER_PARTS
        for kind in ("weight", "bias")
        if (theirs_full := f"encoder.layer.{first + i}.{theirs}.{kind}") in weights
    }


def head_from_bert(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our masked-language head from `cls.predictions.*`; the tied output matrix is not part of it."""
    named: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        for theirs, ours in HEAD:
            if name.startswith(f"cls.{theirs}"):
                named[ours + name.removeprefix(f"cls.{theirs}")] = tensor
    return named
