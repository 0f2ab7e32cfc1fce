"""ALBEF's (and TCL's) checkpoints under our names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from cbalign.models import names

PROJECTIONS = {"vision_proj": "image_projection", "text_proj": "text_projection"}


def from_albef(weights: Mapping[str, Tensor], text_layers: int) -> dict[str, Tensor]:
    """Tensors of an `AlignmentModel` from the state dict of ALBEF's pretraining or retrieval model.

    Args:
        weights: by ALBEF's names, with or without `bert.` and with or without the teacher (`…_m`) and queues.
        text_layers: how many of the BERT's layers form the text tower; the rest are fusion layers.
    """
    named = {f"student.{n}": t for n, t in _towers(weights, "", text_layers).items()}
    named |= {f"teacher.network.{n}": t for n, t in _towers(weights, "_m", text_layers).items()}
    for kind in ("weight", "bias"):
        if f"itm_head.{kind}" in weights:
            named[f"match_head.{kind}"] = weights[f"itm_head.{kind}"]
    if "temp" in weights:
        named["temperature.value"] = weights["temp"]
    for modality in ("image", "text"):
        if f"{modality}_queue" in weights:
            named[f"{modality}_queue.features"] = weights[f"{modality}_queue"].T.contiguous()
            named[f"{modality}_queue.pointer"] = weights["queue_ptr"].reshape(())
        if "idx_queue" in weights:
            named[f"{modality}_queue.image_ids"] = weights["idx_queue"].reshape(-1)
    return named


def _towers(weights: Mapping[str, Tensor], suffix: str, text_layers: int) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.startswith(f"visual_encoder{suffix}."):
            named["vision.transformer." + name.split(".", 1)[1]] = tensor
        for theirs, ours in PROJECTIONS.items():
            if name.startswith(f"{theirs}{suffix}."):
                named[f"{ours}." + name.split(".", 1)[1]] = tensor
    prefix = f"text_encoder{suffix}."
    bert = names.canonical_bert({n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)})
    total = names.bert_layers(bert)
    named |= {f"text.{n}": t for n, t in names.embeddings_from_bert(bert).items()}
    named |= {f"text.{n}": t for n, t in names.layers_from_bert(bert, 0, min(text_layers, total)).items()}
    fusion = names.layers_from_bert(bert, text_layers, max(0, total - text_layers))
    named |= {f"fusion.{n}": t for n, t in fusion.items()}
    named |= {f"masked_language_head.{n}": t for n, t in names.head_from_bert(bert).items()}
    return named
