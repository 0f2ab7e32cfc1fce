"""Published weights: reading their files, and the sizes and layers of a published BERT."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cbalign.data.vocabulary import bert_folder
from cbalign.errors import CheckpointError, SpecError
from cbalign.experiment.architectures import BERTS, BertConfig, read_bert_config
from cbalign.models import names
from cbalign.models.sections.bert import TextSection
from cbalign.models.weights import LoadRules, load_weights
from cbalign.parts import TextTowerSection


def bert_config(architecture: str) -> BertConfig:
    """Sizes of a BERT by built-in name, or from its config.json.

    Raises:
        CheckpointError: config.json is missing or does not describe a BERT.
    """
    return BERTS[architecture] if architecture in BERTS else read_bert_config(bert_folder(architecture) / "config.json")


def text_config(section: TextSection, vocabulary: int) -> BertConfig:
    """Sizes of the text tower that a section describes.

    Raises:
        SpecError: they contradict each other or the architecture.
    """
    config = bert_config(section.architecture)
    sizes = {"width": section.width, "heads": section.heads, "intermediate": section.intermediate}
    config = replace(config, vocabulary=vocabulary, **{n: v for n, v in sizes.items() if v is not None})
    if config.width % config.heads:
        raise SpecError(f"model.text: width {config.width} is not a multiple of heads {config.heads}")
    if section.max_tokens > config.positions:
        raise SpecError(
            f"model.text.max_tokens: {section.max_tokens}, but {section.architecture} has {config.positions} positions"
        )
    return config


def vocabulary_size(section: TextTowerSection) -> int:
    """Size of the vocabulary without its tokenizer: the published model's, or the largest that may be trained.

    Raises:
        CheckpointError: the published model's config.json is missing or is not of a BERT.
    """
    settings = section.tokenizer_settings()
    return settings.vocabulary if settings.pretrained is None else bert_config(settings.pretrained).vocabulary


@dataclass(frozen=True)
class PublishedBert:
    """The weights of a published BERT: its first layers for a text tower, its last for fusion layers.

    Args:
        architecture: built-in name, folder or name on the hub.
    """

    architecture: str

    def load_tower(self, tower: nn.Module, layers: int) -> None:
        """Load the embeddings and the first layers.

        Raises:
            SpecError: the model has fewer layers.
            CheckpointError: the weights do not fit or cannot be read.
        """
        weights = self._read()
        self._layers(weights, "text", layers)
        named = names.embeddings_from_bert(weights) | names.layers_from_bert(weights, 0, layers)
        self._load(tower, named, LoadRules(place="model.text"))

    def load_fusion(self, fusion: nn.Module, layers: int) -> None:
        """Load the last layers, whose cross-attention stays at random.

        Raises:
            SpecError: the model has fewer layers.
            CheckpointError: the weights do not fit or cannot be read.
        """
        weights = self._read()
        available = self._layers(weights, "fusion", layers)
        named = names.layers_from_bert(weights, available - layers, layers)
        rules = LoadRules(required=lambda name: ".cross_attention." not in name, place="model.fusion")
        self._load(fusion, named, rules)

    def load_head(self, head: nn.Module) -> None:
        """Load the masked-language head.

        Sentence encoders are published without a head; it then stays at random.

        Raises:
            CheckpointError: the weights do not fit or cannot be read.
        """
        if found := names.head_from_bert(self._read()):
            self._load(head, found, LoadRules(place="the masked-language head"))

    def _read(self) -> dict[str, Tensor]:
        return names.canonical_bert(read_weights(bert_folder(self.architecture)))

    def _load(self, module: nn.Module, weights: dict[str, Tensor], rules: LoadRules) -> None:
        load_weights(module, weights, str(bert_folder(self.architecture)), rules)

    def _layers(self, weights: dict[str, Tensor], where: str, wanted: int) -> int:
        """The number of layers that the model has."""
        available = names.bert_layers(weights)
        if wanted > available:
            raise SpecError(
                f"model.{where}.layers: {wanted} layers, but {self.architecture} has {available}",
                remedy=f"Set model.{where}.layers to {available} or fewer, or init: random.",
            )
        return available


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
            raise CheckpointError(f"{path} contains no weights", remedy=f"Expected one of {', '.join(names)}.")
        path = found[0]
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or not a weights file: {str(error).splitlines()[0]}") from error
    except Exception as error:  # torch raises pickle's own classes for refused content
        raise CheckpointError(
            f"{path} is rejected: it contains objects other than tensors ({type(error).__name__})"
        ) from error
    for wrapper in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} contains a {type(content).__name__}, not a dict of tensors")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
