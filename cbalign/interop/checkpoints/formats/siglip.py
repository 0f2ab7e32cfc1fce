"""SigLIP and SigLIP 2 in transformers' folders."""

from __future__ import annotations

from collections.abc import Collection

from cbalign.interop.checkpoints.format import TOKENIZER, CheckpointFormat


def is_siglip(names: Collection[str]) -> bool:
    """Whether the names are those of transformers' SiglipModel."""
    return "vision_model.head.probe" in names and "text_model.head.weight" in names


FORMAT = CheckpointFormat(
    name="siglip",
    family="a checkpoint of SigLIP",
    about="""Import SigLIP or SigLIP 2 from transformers as a run.

    FILE-OR-NAME is a folder that transformers wrote (config.json, model.safetensors, tokenizer and
    preprocessor_config.json) or a name on the Hugging Face hub (org/name or hf://org/name). The towers give embeddings
    themselves, so that the projections are identities. Checkpoints of open_clip's SigLIP need `cbalign import
    open_clip`.
    """,
    reads="cbalign.interop.checkpoints.clip:read_siglip",
    recognises=is_siglip,
    options=frozenset({TOKENIZER}),
)
