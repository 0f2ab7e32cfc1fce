"""What export asks of a trained model, whatever its task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from cbalign.data.image import Preprocessing
from cbalign.data.text import Tokenizer
from cbalign.evaluation.result import Result
from cbalign.exporting.ladder import Ladder
from cbalign.runtime.session import Session


class Exportable(Protocol):
    """A trained model, on the CPU and in evaluation mode, with real inputs to compare on."""

    @property
    def graphs(self) -> Mapping[str, nn.Module]:
        """What is exported, by the names of `cbalign.runtime.signatures`."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The one it was trained with."""

    @property
    def preprocessing(self) -> Preprocessing:
        """Input size and pixel statistics of its image tower."""

    @property
    def weights(self) -> int:
        """Bytes of the weights that the graphs are made of, each counted once."""

    @property
    def source(self) -> str:
        """What messages call the data that it is compared on."""

    @property
    def results(self) -> tuple[Result, ...]:
        """What PyTorch measures on them."""

    def examples(self) -> Mapping[str, tuple[Tensor, ...]]:
        """Inputs of each graph to trace with: real ones, every varying dimension of another size above 1."""

    def write_assets(self, folder: Path) -> None:
        """Write what the bundle needs beside tokenizer and preprocessing."""

    def compare(self, session: Session, precision: str, report: Callable[[str], None]) -> Ladder:
        """The comparison of a bundle's graphs with this model."""

    def write_golden(self, sessions: Mapping[str, Session], path: Path) -> None:
        """Record a computation: this model's own as fp32, and those of the sessions by their precision."""


def bytes_of(*modules: nn.Module | None) -> int:
    """Bytes of the parameters of modules."""
    return sum(p.numel() * p.element_size() for part in modules if part is not None for p in part.parameters())
