"""open_clip, whose towers are its own, timm's or transformers'."""

from __future__ import annotations

from collections.abc import Collection

from cbalign.interop.checkpoints.format import CONFIG, TOKENIZER, CheckpointFormat


def is_open_clip(names: Collection[str]) -> bool:
    """Whether the names are those of open_clip or of OpenAI's CLIP."""
    vision = any(name.startswith(("visual.transformer.", "visual.trunk.", "visual.attnpool.")) for name in names)
    return vision and "logit_scale" in names


FORMAT = CheckpointFormat(
    name="open_clip",
    family="a checkpoint of open_clip",
    about="""Import a checkpoint of open_clip as a run.

    FILE-OR-NAME is a file of weights, a folder with open_clip_config.json and open_clip_model.safetensors, or a name on
    the Hugging Face hub (org/name or hf://org/name). Image towers of open_clip itself and of timm (SigLIP, EVA,
    ConvNeXt, …) and text towers of open_clip itself and of transformers can be imported. Pickles are read without
    executing code.
    """,
    reads="cbalign.interop.checkpoints.open_clip:read_open_clip",
    recognises=is_open_clip,
    options=frozenset({TOKENIZER, CONFIG}),
)
