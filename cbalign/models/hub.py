"""Image models in the layout of the Hugging Face hub: a folder with config.json, local or downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cbalign.data.published import CONFIG_FILES, published_folder, published_weights, read_json_object
from cbalign.errors import CheckpointError


def model_folder(name: str, setting: str, *, weights: bool) -> Path:
    """Find the folder of a model.

    Args:
        name: a folder, or a name on the hub with or without `hf://` or `hf-hub:`.
        setting: the dotted path of the setting, for messages.
        weights: whether its weights are needed, too, if it is a name on the hub.

    Raises:
        CheckpointError: neither a folder with config.json nor a model that can be downloaded.
    """
    path = Path(name)
    if path.is_absolute() and not path.is_dir():
        raise CheckpointError(f"{setting}: no folder {name}", remedy="Expected config.json and model.safetensors.")
    folder = published_folder(name, setting, CONFIG_FILES)
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{setting}: {folder} has no config.json",
            remedy="Give a folder in the layout of the Hugging Face hub: config.json and model.safetensors.",
        )
    if weights and not path.is_dir():
        published_weights(name, setting)
    return folder


def read_config(folder: Path, setting: str) -> dict[str, Any]:
    """Read config.json.

    Raises:
        CheckpointError: it is not a JSON object.
    """
    return read_json_object(folder / "config.json", setting)
