"""The interface of a trained model to export, for any task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from cbalign.data.image import Preprocessing
from cbalign.data.text import Tokenizer
from cbalign.evaluation.result import Result
from cbalign.exporting.parity_checks import ParityChecks
from cbalign.runtime.session import Session


class Exportable(Protocol):
    """A trained model, on the CPU and in evaluation mode, with real inputs for the parity checks."""

    @property
    def graphs(self) -> Mapping[str, nn.Module]:
        """Modules to export, by graph name (see `cbalign.runtime.signatures`)."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer that the model was trained with."""

    @property
    def preprocessing(self) -> Preprocessing:
        """Input size and pixel statistics of the image tower."""

    @property
    def weights(self) -> int:
        """Total bytes of the exported weights; shared weights count once."""

    @property
    def source(self) -> str:
        """Name of the data that the checks use, for messages."""

    @property
    def results(self) -> tuple[Result, ...]:
        """PyTorch's results on this data."""

    def examples(self) -> Mapping[str, tuple[Tensor, ...]]:
        """Return real inputs to trace each graph with. Varying dimensions have distinct sizes above 1."""

    def write_assets(self, folder: Path) -> None:
        """Write the files that the bundle needs in addition to tokenizer and preprocessing."""

    def parity_checks(self, session: Session, precision: str, report: Callable[[str], None]) -> ParityChecks:
        """Return the checks that compare a bundle's graphs with this model."""

    def write_golden(self, sessions: Mapping[str, Session], path: Path) -> None:
        """Record example outputs: this model's as fp32, and each session's under its precision."""


def parameter_bytes(*modules: nn.Module | None) -> int:
    """Return the total size of the modules' parameters in bytes."""
    return sum(p.numel() * p.element_size() for part in modules if part is not None for p in part.parameters())
