"""CLIP: transformers' folders and OpenAI's files."""

from __future__ import annotations

from collections.abc import Collection

from cbalign.interop.checkpoints.format import TOKENIZER, CheckpointFormat


def is_clip(names: Collection[str]) -> bool:
    """Whether the names are those of transformers' CLIPModel."""
    return "visual_projection.weight" in names and "vision_model.pre_layrnorm.weight" in names


FORMAT = CheckpointFormat(
    name="clip",
    family="a checkpoint of CLIP",
    about="""Import CLIP from transformers or OpenAI as a run.

    FILE-OR-NAME is a folder that transformers wrote (config.json, model.safetensors, tokenizer and
    preprocessor_config.json), a name on the Hugging Face hub (org/name or hf://org/name), or a file of tensors with
    OpenAI's names. The run can be evaluated, exported and searched with; training can start from it with
    init: {run: RUN}. OpenAI's own .pt files are programs and are not executed: take the folder of transformers.
    """,
    reads="cbalign.interop.checkpoints.clip:read_clip",
    recognises=is_clip,
    options=frozenset({TOKENIZER}),
)
