"""The interface of a trained model to export, for any task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from cbalign.data.image import Preprocessing
from cbalign.data.text import Tokenizer
from cbalign.errors import PartError
from cbalign.evaluation.result import Result
from cbalign.experiment.export import ExportSection
from cbalign.exporting.parity_checks import ParityChecks
from cbalign.parts import TaskSection
from cbalign.parts.part import describe
from cbalign.runtime.session import Session
from cbalign.runtime.signatures import Signature
from cbalign.runtime.task import task_runtime


class Exportable(Protocol):
    """A trained model, on the CPU and in evaluation mode, with real inputs for the parity checks."""

    @property
    def graphs(self) -> Mapping[str, nn.Module]:
        """Modules to export, by graph name; `TaskRuntime.signatures` has their inputs and outputs."""

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


def chosen_signatures(task: TaskSection, section: ExportSection, available: Collection[str]) -> dict[str, Signature]:
    """Return the signatures of the graphs to export: those that a spec selects, and those that every bundle needs.

    Args:
        task: the task, whose runtime has the signatures of all its graphs, in order.
        section: the `export` section of the spec.
        available: names of the model's graphs.

    Raises:
        PartError: the runtime lacks the signature of a graph.
    """
    signatures = task_runtime(task).signatures
    if unknown := [graph for graph in (*task.graphs, *available) if graph not in signatures]:
        raise PartError(
            f"{describe(type(task))} has the graph {unknown[0]}, but {task.runtime} has no signature for it",
            remedy="Update or uninstall that distribution, or report this to its authors.",
        )
    needed = (graph for graph, signature in signatures.items() if not signature.is_optional)
    wanted = available if section.graphs == "all" else {*needed, *section.graphs}
    return {graph: signature for graph, signature in signatures.items() if graph in wanted and graph in available}


def parameter_bytes(*modules: nn.Module | None) -> int:
    """Return the total size of the modules' parameters in bytes."""
    return sum(p.numel() * p.element_size() for part in modules if part is not None for p in part.parameters())
