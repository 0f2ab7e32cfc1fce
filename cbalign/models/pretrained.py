"""Published weights: reading their files, and the sizes and layers of a published BERT."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cbalign.data.published import CONFIG_FILES, published_folder, published_weights
from cbalign.data.vocabulary import PLACE
from cbalign.errors import CheckpointError, SpecError
from cbalign.experiment.architectures import BERTS, BertConfig, read_bert_config, read_vocabulary_size
from cbalign.models import names
from cbalign.models.sections.bert import TextSection
from cbalign.models.weights import LoadRules, load_weights
from cbalign.parts import TextTowerSection

_MASKS = ("mask", "masked_bias", "causal_bias")
_SHOWN = 4  # tensors in a message
_LONGEST_NAME = 1000  # characters
_LONGEST_REASON = 300  # characters of a library's message


def bert_config(architecture: str, place: str = PLACE) -> BertConfig:
    """Sizes of a BERT by built-in name, or from its config.json; `place` is the setting that names it.

    Raises:
        CheckpointError: config.json is missing or does not describe a BERT.
    """
    if architecture in BERTS:
        return BERTS[architecture]
    return read_bert_config(published_folder(architecture, place, CONFIG_FILES) / "config.json")


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
        CheckpointError: the published model's config.json is missing or is not of a text model.
    """
    settings = section.tokenizer_settings()
    if settings.pretrained is None:
        return settings.vocabulary
    if settings.pretrained in BERTS:
        return BERTS[settings.pretrained].vocabulary
    return read_vocabulary_size(published_folder(settings.pretrained, PLACE, CONFIG_FILES) / "config.json")


@dataclass(frozen=True)
class PublishedBert:
    """The weights of a published BERT: its first layers for a text tower, its last for fusion layers.

    The file is read once and held until `release`.

    Args:
        architecture: built-in name, folder or name on the hub.
        place: the setting that names it, for messages.
    """

    architecture: str
    place: str = PLACE

    def load_tower(self, tower: nn.Module, layers: int) -> None:
        """Load the embeddings and the first layers.

        Raises:
            SpecError: the model has fewer layers.
            CheckpointError: the weights do not fit or cannot be read.
        """
        weights = self._weights
        self._layers(weights, "text", layers)
        named = names.embeddings_from_bert(weights) | names.layers_from_bert(weights, 0, layers)
        self._load(tower, named, LoadRules(place="model.text"))

    def load_fusion(self, fusion: nn.Module, layers: int) -> None:
        """Load the last layers, whose cross-attention stays at random.

        Raises:
            SpecError: the model has fewer layers.
            CheckpointError: the weights do not fit or cannot be read.
        """
        weights = self._weights
        available = self._layers(weights, "fusion", layers)
        named = names.layers_from_bert(weights, available - layers, layers)
        rules = LoadRules(
            required=lambda name: name.startswith("layers.") and ".cross_attention." not in name, place="model.fusion"
        )
        self._load(fusion, named, rules)

    def load_head(self, head: nn.Module) -> None:
        """Load the masked-language head.

        Sentence encoders are published without a head; it then stays at random.

        Raises:
            CheckpointError: the weights do not fit or cannot be read.
        """
        if self._head:
            self._load(head, self._head, LoadRules(place="the masked-language head"))

    def release(self) -> None:
        """Drop the tensors except for the head's, which is small and may be built much later."""
        if "_weights" in self.__dict__:
            _ = self._head
            del self.__dict__["_weights"]

    @cached_property
    def _folder(self) -> Path:
        return published_weights(self.architecture, self.place)

    @cached_property
    def _weights(self) -> dict[str, Tensor]:
        return names.canonical_bert(read_weights(self._folder))

    @cached_property
    def _head(self) -> dict[str, Tensor]:
        return names.head_from_bert(self._weights)

    def _load(self, module: nn.Module, weights: dict[str, Tensor], rules: LoadRules) -> None:
        load_weights(module, weights, str(self._folder), rules)

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
    """Tensors by name from a safetensors or PyTorch file, or from the folder that holds one, in parts or whole.

    PyTorch files are read with weights_only, so that no code in them can run; `{"model": …}` and
    `{"state_dict": …}` wrappers are opened.

    Raises:
        CheckpointError: no such file, a damaged one, or one that holds more than tensors.
    """
    if path.is_dir():
        names = ("model.safetensors", "pytorch_model.bin")
        if index := next((path / f"{n}.index.json" for n in names if (path / f"{n}.index.json").is_file()), None):
            return _read_shards(index)
        found = [path / name for name in names if (path / name).is_file()]
        if not found:
            raise CheckpointError(f"{path} contains no weights", remedy=f"Expected one of {', '.join(names)}.")
        path = found[0]
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "does not exist"
        raise CheckpointError(f"{path} {what}")
    try:
        if path.suffix == ".safetensors":
            return _ordinary(load_file(path), path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or not a weights file: {why_unreadable(error)}") from error
    except Exception as error:  # torch raises pickle's own classes for refused content
        raise CheckpointError(
            f"{path} is rejected: it contains objects other than tensors ({type(error).__name__})"
        ) from error
    for wrapper in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} contains a {type(content).__name__}, not a dict of tensors")
    return _ordinary({str(name): value for name, value in content.items() if isinstance(value, Tensor)}, path)


def _ordinary(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors if all are dense numbers in memory.

    Raises:
        CheckpointError: some are not, or have names that no model has.
    """
    endless = [name for name in tensors if len(name) > _LONGEST_NAME]
    if endless:
        raise CheckpointError(f"{path} has a tensor whose name has {len(endless[0]):,} characters")
    odd = {name: what for name, tensor in tensors.items() if (what := _oddity(name, tensor)) is not None}
    if odd:
        shown = "; ".join(f"{name} {what}" for name, what in list(odd.items())[:_SHOWN])
        more = f"; and {len(odd) - _SHOWN:,} more" if len(odd) > _SHOWN else ""
        raise CheckpointError(
            f"{path} has tensors that cannot be weights: {shown}{more}",
            remedy="Convert them to dense floating-point tensors with finite values, and save them again.",
        )
    return tensors


def _oddity(name: str, tensor: Tensor) -> str | None:
    """Return what makes a tensor unusable as a weight; masks may hold infinities."""
    if tensor.is_meta:
        return "is on the device meta, without values"
    if tensor.layout != torch.strided:
        return f"is sparse ({tensor.layout})"
    if tensor.is_quantized:
        return f"is quantised ({tensor.dtype})"
    if tensor.is_complex():
        return f"is complex ({tensor.dtype})"
    if not tensor.is_floating_point():
        return None
    if tensor.element_size() == 1:  # torch computes nothing with 8 bits
        tensor = tensor.float()
    total = tensor.sum(dtype=torch.float64)  # not finite if a value is not: double sums of floats do not overflow
    if bool(total.isfinite()) or bool(tensor.isfinite().all()):
        return None
    if bool(tensor.isnan().any()):
        return f"holds NaN in {int(tensor.isnan().sum()):,} of {tensor.numel():,} values"
    return None if name.endswith(_MASKS) else "holds infinite values"


def why_unreadable(error: Exception) -> str:
    """Return in one line why torch could not read a file, without torch's advice to read it with code execution."""
    first = next(iter(str(error).splitlines()), "")
    if not first or "weights_only" in str(error):
        return "it is damaged, or holds objects other than tensors, which are not loaded because they can run code"
    return first if len(first) <= _LONGEST_REASON else f"{first[:_LONGEST_REASON]}…"


def _read_shards(index: Path) -> dict[str, Tensor]:
    """Tensors of a model whose weights are in several files next to their index."""
    try:
        files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is not an index of weights files: {error!r}") from error
    weights: dict[str, Tensor] = {}
    for file in files:
        if Path(file).name != file:
            raise CheckpointError(f"{index} names {file}, which is not a file next to it")
        weights |= read_weights(index.parent / file)
    return weights
