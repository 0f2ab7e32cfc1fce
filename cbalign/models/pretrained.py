"""What is in pretrained BERT and ViT files: sizes and weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cbalign.data.vocabulary import bert_folder
from cbalign.errors import CheckpointError
from cbalign.experiment.architectures import BERTS, BertConfig, read_bert_config


def bert_config(architecture: str) -> BertConfig:
    """Sizes of a BERT by built-in name, or from its config.json.

    Raises:
        CheckpointError: config.json is missing or is not of a BERT.
    """
    return BERTS[architecture] if architecture in BERTS else read_bert_config(bert_folder(architecture) / "config.json")


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
