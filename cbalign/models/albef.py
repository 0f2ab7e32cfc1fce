"""Name mapping of ALBEF's (and TCL's) checkpoints.

Every function takes a state dict by ALBEF's names, with or without `bert.`, the teacher (`…_m`) and queues, and
returns only the tensors it found; the caller compares them with the model and reports.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cbalign.models import names

PROJECTIONS = {"vision_proj": "image_projection", "text_proj": "text_projection"}
NETWORKS = {"": "student", "_m": "teacher.network"}


def from_albef(weights: Mapping[str, Tensor], text_layers: int) -> dict[str, Tensor]:
    """Tensors of an `AlignmentModel` from ALBEF's pretraining or retrieval model.

    Args:
        weights: by ALBEF's names.
        text_layers: how many of the BERT's layers form the text tower; the rest are fusion layers.
    """
    named: dict[str, Tensor] = {}
    for suffix, ours in NETWORKS.items():
        named |= _prefixed(f"{ours}.", _towers(weights, suffix, text_layers))
        named |= _prefixed(f"{ours}.", _projections(weights, suffix))
        head = names.head_from_bert(_bert(weights, f"text_encoder{suffix}."))
        named |= _prefixed(f"objectives.masked_language.head.{ours}.", head)
    for kind in ("weight", "bias"):
        if f"itm_head.{kind}" in weights:
            named[f"objectives.matching.head.{kind}"] = weights[f"itm_head.{kind}"]
    if "temp" in weights:
        named["temperature.value"] = weights["temp"]
    for modality in ("image", "text"):
        if f"{modality}_queue" in weights:
            named[f"{modality}_queue.features"] = weights[f"{modality}_queue"].T.contiguous()
            named[f"{modality}_queue.pointer"] = weights["queue_ptr"].reshape(())
            # ALBEF's queues are full from the start, of random vectors at first.
            named[f"{modality}_queue.filled"] = torch.tensor(weights[f"{modality}_queue"].shape[1])
        if "idx_queue" in weights:
            named[f"{modality}_queue.image_ids"] = weights["idx_queue"].reshape(-1)
    return named


def answering_from_albef(weights: Mapping[str, Tensor], text_layers: int) -> dict[str, Tensor]:
    """Tensors of a `Distilled[AnsweringNetwork]` from ALBEF's VQA model; see `from_albef`."""
    named: dict[str, Tensor] = {}
    for suffix, ours in NETWORKS.items():
        named |= _prefixed(f"{ours}.", _towers(weights, suffix, text_layers))
        bert = _bert(weights, f"text_decoder{suffix}.")
        decoder = names.embeddings_from_bert(bert) | names.layers_from_bert(bert, 0, names.bert_layers(bert))
        decoder |= _prefixed("head.", names.head_from_bert(bert))
        named |= _prefixed(f"{ours}.decoder.", decoder)
    return named


def entailment_from_albef(weights: Mapping[str, Tensor], text_layers: int) -> dict[str, Tensor]:
    """Tensors of a `Distilled[EntailmentNetwork]` from ALBEF's SNLI-VE model; see `from_albef`."""
    named: dict[str, Tensor] = {}
    for suffix, ours in NETWORKS.items():
        named |= _prefixed(f"{ours}.", _towers(weights, suffix, text_layers))
        named |= _prefixed(f"{ours}.head.", _classification_head(weights, suffix))
    return named


def image_pairs_from_albef(weights: Mapping[str, Tensor], text_layers: int) -> dict[str, Tensor]:
    """Tensors of a `Distilled[ImagePairNetwork]` from ALBEF's NLVR2 model; see `from_albef`.

    The layers after the text tower alternate between the images. Their shared keys and values stand twice in the
    file; the later copy counts, as it does when ALBEF loads it.
    """
    named: dict[str, Tensor] = {}
    for suffix, ours in NETWORKS.items():
        bert = _bert(weights, f"text_encoder{suffix}.")
        named |= _prefixed(f"{ours}.vision.", _vision(weights, suffix))
        named |= _prefixed(f"{ours}.text.", _text(bert, text_layers))
        layers = names.layers_from_bert(bert, text_layers, names.bert_layers(bert) - text_layers)
        named |= _prefixed(f"{ours}.fusion.", _alternating(layers))
        named |= _prefixed(f"{ours}.head.", _classification_head(weights, suffix))
    return named


def _towers(weights: Mapping[str, Tensor], suffix: str, text_layers: int) -> dict[str, Tensor]:
    bert = _bert(weights, f"text_encoder{suffix}.")
    fusion = names.layers_from_bert(bert, text_layers, max(0, names.bert_layers(bert) - text_layers))
    return (
        _prefixed("vision.", _vision(weights, suffix))
        | _prefixed("text.", _text(bert, text_layers))
        | _prefixed("fusion.", fusion)
    )


def _vision(weights: Mapping[str, Tensor], suffix: str) -> dict[str, Tensor]:
    return _prefixed("transformer.", _below(weights, f"visual_encoder{suffix}."))


def _text(bert: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    return names.embeddings_from_bert(bert) | names.layers_from_bert(bert, 0, min(layers, names.bert_layers(bert)))


def _bert(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return names.canonical_bert(_below(weights, prefix))


def _projections(weights: Mapping[str, Tensor], suffix: str) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for theirs, ours in PROJECTIONS.items():
        named |= _prefixed(f"{ours}.", _below(weights, f"{theirs}{suffix}."))
    return named


def _classification_head(weights: Mapping[str, Tensor], suffix: str) -> dict[str, Tensor]:
    hidden, output = _below(weights, f"cls_head{suffix}.0."), _below(weights, f"cls_head{suffix}.2.")
    return _prefixed("hidden.", hidden) | _prefixed("output.", output)


def _alternating(layers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`layers.0`, `layers.1`, … as pairs `first.0`, `second.0`, …"""
    named: dict[str, Tensor] = {}
    for name, tensor in layers.items():
        _, number, part = name.split(".", 2)
        pair, is_second = divmod(int(number), 2)
        shared = part.startswith(("cross_attention.key.", "cross_attention.value."))
        if shared:
            # Written by the first layer of the pair, overwritten by the second.
            named[f"first.{pair}.{part}"] = tensor
        else:
            named[f"{'second' if is_second else 'first'}.{pair}.{part}"] = tensor
    return named


def _below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}


def _prefixed(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}
