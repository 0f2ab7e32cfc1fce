"""Models in the layout of the Hugging Face hub: a folder with config.json and weights, local or downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cbalign.errors import CheckpointError
from cbalign.models.sections.vision import hub_name

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_OTHERS = ("preprocessor_config.json", "processor_config.json")


def model_folder(name: str, setting: str, *, weights: bool) -> Path:
    """Find the folder of a model.

    Args:
        name: a folder, or a name on the hub with or without `hf://` or `hf-hub:`.
        setting: the dotted path of the setting, for messages.
        weights: whether its weights are needed.

    Raises:
        CheckpointError: neither a folder with config.json nor a model that can be downloaded.
    """
    folder = Path(name)
    if not folder.is_dir():
        if folder.is_absolute():
            raise CheckpointError(f"{setting}: no folder {name}", remedy="Expected config.json and model.safetensors.")
        folder = _download(hub_name(name), setting, weights)
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{setting}: {folder} has no config.json",
            remedy="Give a folder in the layout of the Hugging Face hub: config.json and model.safetensors.",
        )
    return folder


def read_config(folder: Path, setting: str) -> dict[str, Any]:
    """Read config.json.

    Raises:
        CheckpointError: it is not a JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{setting}: {path} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{setting}: {path} is not a JSON object")
    return config


def _download(name: str, setting: str, weights: bool) -> Path:
    """Download a model's files, or find them in the hub's cache."""
    from huggingface_hub import hf_hub_download

    try:
        folder = Path(hf_hub_download(name, "config.json")).parent
    except Exception as error:  # the hub client raises many kinds
        raise _unreachable(name, setting, error) from error
    for optional in _OTHERS:
        try:
            hf_hub_download(name, optional)
        except Exception:  # not every model has them; whoever needs one says so
            continue
    if weights:
        _download_weights(name, setting)
    return folder


def _download_weights(name: str, setting: str) -> None:
    from huggingface_hub import hf_hub_download

    failures: list[Exception] = []
    for file in WEIGHTS:
        try:
            hf_hub_download(name, file)
            return
        except Exception as error:  # as above
            failures.append(error)
    raise _unreachable(name, setting, failures[0])


def _unreachable(name: str, setting: str, error: Exception) -> CheckpointError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return CheckpointError(
        f"{setting}: {name!r} is neither a folder nor a model that can be downloaded: {reason}",
        remedy="Check the name and the network, or give a folder with config.json and model.safetensors.",
    )
