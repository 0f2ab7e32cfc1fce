"""BLIP: Salesforce's files and transformers' folders."""

from __future__ import annotations

from collections.abc import Collection

from cbalign.interop.checkpoints.format import HEADS, TOKENIZER, CheckpointFormat


def is_blip(names: Collection[str]) -> bool:
    """Whether every text layer, the first included, reads the image."""
    return "text_encoder.encoder.layer.0.crossattention.self.query.weight" in names or any(
        name.startswith("text_decoder.bert.encoder.layer.0.crossattention.") for name in names
    )


FORMAT = CheckpointFormat(
    name="blip",
    family="a checkpoint of BLIP",
    about="""Import the image tower and the text tower of BLIP as a run.

    FILE-OR-NAME is a retrieval or pretraining checkpoint of Salesforce's BLIP (.pth), a folder of transformers'
    BlipForImageTextRetrieval, or a name on the Hugging Face hub (org/name or hf://org/name). Towers, projections and
    temperature are imported; the matcher is not, because it reads the words again instead of the text tower's tokens.
    """,
    reads="cbalign.interop.checkpoints.blip:read_blip",
    recognises=is_blip,
    options=frozenset({TOKENIZER, HEADS}),
)
