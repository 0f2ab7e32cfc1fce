"""ALBEF."""

from __future__ import annotations

from collections.abc import Collection

from cbalign.interop.checkpoints.format import HEADS, SPEC, TOKENIZER, CheckpointFormat


def is_albef(names: Collection[str]) -> bool:
    """Whether the text layers are a BERT whose last ones alone read the image."""
    encoder = ("text_encoder.bert.encoder.layer.", "text_encoder.encoder.layer.")
    first = any(f"{prefix}0.crossattention.self.query.weight" in names for prefix in encoder)
    fused = any(name.startswith(encoder) and ".crossattention." in name for name in names)
    return "visual_encoder.pos_embed" in names and fused and not first


FORMAT = CheckpointFormat(
    name="albef",
    family="a checkpoint of ALBEF or TCL",
    about="""Import a pretraining or retrieval checkpoint of ALBEF or TCL as a run.

    FILE is an ALBEF.pth with or without teacher and queues, or the state dict of a fine-tuned release. It is read
    without executing code. The run can be evaluated, exported and resumed; without --spec its data are the OpenMoji
    drawings.
    """,
    reads="cbalign.interop.checkpoints.albef:read_checkpoint",
    recognises=is_albef,
    options=frozenset({SPEC, TOKENIZER, HEADS}),
)
