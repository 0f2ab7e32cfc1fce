"""A folder of recorded numbers: its tensors, and which of them have been reproduced."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cbalign.data.image import CLIP_MEAN, CLIP_STD
from cbalign.models.bert import BertConfig

TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3


class AnotherFormError(Exception):
    """The folder is not one of recorded ALBEF numbers."""


@dataclass(frozen=True)
class Quantity:
    """One recorded quantity and how far ours is from it."""

    name: str
    error: float  # largest relative error, see `relative_error`
    tolerance: float

    @property
    def holds(self) -> bool:
        return self.error <= self.tolerance  # false for nan


@dataclass(frozen=True)
class Sizes:
    """What tensors' shapes do not say."""

    vision_heads: int
    bert: BertConfig
    text_layers: int
    momentum: float


class Reference:
    """The folder: weights of four models, inputs and outputs.

    Outputs are given to `compare`, inputs are got by `take`; what is left untouched is not covered.

    Raises:
        AnotherFormError: a file is missing or unreadable; `take` and `weights` raise it for tensors.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.quantities: list[Quantity] = []
        config = self._json("config.json")
        bert = self._json("bert_config.json")
        self.metrics = self._json("retrieval_metrics.json")
        self._recorded = {
            name: t if t.is_floating_point() else t.long() for name, t in self.weights("expected").items()
        }
        self._touched: set[str] = set()
        try:
            self.sizes = Sizes(
                vision_heads=int(config["sizes"]["vh"]),
                bert=BertConfig(
                    vocabulary=bert["vocab_size"],
                    width=bert["hidden_size"],
                    layers=bert["num_hidden_layers"],
                    heads=bert["num_attention_heads"],
                    intermediate=bert["intermediate_size"],
                    positions=bert["max_position_embeddings"],
                    types=bert.get("type_vocab_size", 2),
                    norm_eps=bert.get("layer_norm_eps", 1e-12),
                ),
                text_layers=int(bert["fusion_layer"]),
                momentum=float(config["momentum"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise AnotherFormError(f"config.json or bert_config.json lacks {error}") from error

    @property
    def names(self) -> set[str]:
        """All recorded tensors, inputs and outputs."""
        return set(self._recorded)

    @property
    def uncovered(self) -> list[str]:
        """Recorded tensors that were neither taken as an input nor compared, and figures that were not compared."""
        figures = {
            f"retrieval_metrics.{kind}.{name}"
            for kind, group in self.metrics.items()
            if kind != "images_to_texts"
            for name in group
        }
        return sorted((self.names | figures) - self._touched)

    def weights(self, name: str) -> dict[str, Tensor]:
        """Tensors of one safetensors file."""
        path = self.folder / f"{name}.safetensors"
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise AnotherFormError(f"{path.name} cannot be read: {error}") from error

    def look(self, name: str) -> Tensor:
        """A recorded tensor, which stays to be compared or taken."""
        if name not in self._recorded:
            raise AnotherFormError(f"expected.safetensors has no {name}")
        return self._recorded[name]

    def take(self, name: str) -> Tensor:
        """A recorded input."""
        tensor = self.look(name)
        self._touched.add(name)
        return tensor

    def pixels(self, name: str) -> Tensor:
        """Recorded images (…, 3, H, W), from ALBEF's normalised values back to 0 … 255."""
        mean, std = torch.tensor(CLIP_MEAN).view(3, 1, 1), torch.tensor(CLIP_STD).view(3, 1, 1)
        return (self.take(name) * std + mean) * 255

    def compare(self, name: str, computed: Tensor, tolerance: float = TOLERANCE) -> None:
        """Hold a computed tensor against the recorded output of that name."""
        self.report(name, relative_error(computed.detach(), self.look(name)), tolerance)

    def report(self, name: str, error: float, tolerance: float = TOLERANCE) -> None:
        """Note the error of the output of that name."""
        self._touched.add(name)
        self.quantities.append(Quantity(name, error, tolerance))

    def report_figure(self, kind: str, name: str, error: float) -> None:
        """Note the error of a figure of retrieval_metrics.json."""
        self.report(f"retrieval_metrics.{kind}.{name}", error)

    def _json(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise AnotherFormError(f"{name} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise AnotherFormError(f"{name} holds a {type(content).__name__}, not an object")
        return content


def relative_error(computed: Tensor, recorded: Tensor) -> float:
    """Largest |computed - recorded| / max(|recorded|, its root mean square): inf for other shapes.

    An entry is held to its own size unless it is smaller than the tensor's typical entry, where float32 sums of
    larger numbers leave no more digits.
    """
    if computed.shape != recorded.shape:
        return math.inf
    if recorded.numel() == 0:
        return 0.0
    ours, theirs = computed.double(), recorded.double()
    scale = theirs.abs().clamp(min=theirs.square().mean().sqrt().item())
    gaps = (ours - theirs).abs()
    # Zero everywhere: there is no scale, the gap itself is the error.
    return (gaps / scale.where(scale > 0, 1.0)).max().item()
