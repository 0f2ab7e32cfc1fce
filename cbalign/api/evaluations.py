"""Evaluation in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cbalign.api.model import Model
from cbalign.api.progress import units
from cbalign.data.progress import ProgressCallback
from cbalign.parts.kinds import Split
from cbalign.runtime.machine import installed

if TYPE_CHECKING:
    from cbalign.api.bundles import Bundle
    from cbalign.api.pairs import Pairs
    from cbalign.api.runs import Run
    from cbalign.evaluation.base import Result
    from cbalign.evaluation.published import PublishedComparison
    from cbalign.evaluation.result import EvaluationDocument
    from cbalign.tasks.evaluate import Measurement
    from cbalign.tasks.opened import OpenedModel
    from cbalign.tasks.stored_results import StoredResults

_PACKAGES = ("cbalign", "numpy", "Pillow", "tokenizers", "torch", "timm", "onnxruntime-gpu", "onnxruntime")


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation measured. Made by `cbalign.evaluate`.

    Attributes:
        record: the results with versions and time, as `save` stores them.
        published: published figures of the same protocol, next to the measured ones.
        measurements: the results with the settings and data of each, see `Measurement`.
    """

    record: EvaluationDocument
    published: tuple[PublishedComparison, ...]
    measurements: tuple[Measurement, ...]

    @property
    def results(self) -> tuple[Result, ...]:
        """One result for each split and protocol."""
        return self.record.results

    @property
    def metrics(self) -> dict[str, float]:
        """All numbers by name, such as `test/dual/image_to_text/r1`."""
        return {f"{result.split}/{name}": value for result in self.results for name, value in result.flat().items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {**self.record.to_data(), "published": [asdict(figure) for figure in self.published]}

    def predictions(self) -> str:
        """What the model predicts for every item, in the format of the data set's own tools.

        Raises:
            UsageError: the task predicts nothing, or there are several evaluations.
        """
        from cbalign.evaluation.evaluator import predictions_file

        return predictions_file([(one.section, result) for one in self.measurements for result in one.results])

    def save(self, path: str | Path) -> Path:
        """Write the results to a JSON file and return its path."""
        from cbalign.engine.files import write_durably

        write_durably(Path(path), self.record.to_json().encode())
        return Path(path)

    def export(self, format: str, folder: str | Path) -> list[Path]:
        """Write the results in the JSON form of a benchmark, a file for each task, and return the paths.

        Args:
            format: `clip_benchmark` or `mteb`. What the form lacks, such as diagnostics, is left out.
            folder: made if it does not exist.

        Raises:
            UsageError: there is no such form, or it has none of these results.
        """
        from cbalign.engine.files import write_durably
        from cbalign.evaluation.formats import benchmark_files

        names = {
            result.split: "+".join(one.data.data_sets()) if result.split in get_args(Split) else result.split
            for one in self.measurements
            for result in one.results
        }
        files = benchmark_files(self.record, names, format)
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_durably(Path(folder) / name, text.encode())
        return [Path(folder) / name for name in files]

    def __repr__(self) -> str:
        from cbalign.evaluation.table import format_table

        return format_table(self.results)

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{escape(n)}</td><td>{v:.4g}</td></tr>" for n, v in self.metrics.items())
        return f"<table><caption>{escape(self.record.subject)}, {escape(self.record.backend)}</caption>{rows}</table>"


def evaluate(
    model: str | Path | Model | Run | Bundle,
    on: str | None = None,
    *,
    kind: str | None = None,
    data: Pairs | None = None,
    device: str = "auto",
    precision: str | None = None,
    keep: bool = False,
    again: bool = False,
    progress: bool | ProgressCallback = False,
    warn: Callable[[str], None] | None = None,
    **changes: Any,
) -> Evaluation:
    """Evaluate a model by its task's own metric.

    Args:
        model: a `Model`, or what `cbalign.load` takes.
        on: a split of the spec (`test`), or a data file or folder; default: the evaluations that the spec lists.
        kind: only evaluations of this kind, such as `zero_shot`; one that the spec does not list is made of `changes`.
        data: pairs to evaluate on instead, see `Pairs`. Their results have the name of the split `on`; default: `test`,
            as in `test/dual/image_to_text/r1`.
        device: see `cbalign.load`; ignored for a `Model`.
        precision: see `cbalign.load`; ignored for a `Model`.
        keep: whether to store the results in the run's folder `evaluation/`, and to return those that are stored there
            for the same checkpoint, settings, data and device instead of measuring them again.
        again: whether to measure them again nevertheless, and replace them.
        progress: whether to show the progress; or called as `progress(stage, done, total)`.
        warn: called with each warning; default: they are Python warnings.
        **changes: settings of the evaluation, such as `protocols=("dual", "rerank")`, `top_k=16` or `bootstrap=0`. The
            reference of specs has all of them under `evaluate`.

    Raises:
        UsageError: there is no such split, or the evaluation has no such setting or the setting no such value.
        DataError: the data cannot be read.

    Examples:
        >>> result = cbalign.evaluate("runs/latest", on="test")
        >>> result.metrics["test/dual/image_to_text/r1"]
    """
    from cbalign.api.opening import load, python_warning
    from cbalign.tasks.evaluate import evaluate_opened as measure
    from cbalign.tasks.stored_results import StoredResults

    opened_model = model if isinstance(model, Model) else load(model, device=device, precision=precision, warn=warn)
    opened, shown = opened_model._opened, warn or python_warning
    if data is not None:
        on, opened = _given(data, on, opened)
    stored = StoredResults(opened.results, opened.step, opened.backend) if keep and opened.results is not None else None
    measured = measure(opened, on, changes, kind=kind, stored=stored, again=again, report=units(progress), warn=shown)
    record = _record(opened_model, measured)
    if stored is not None:
        _keep(record, measured, stored)
    return Evaluation(record, tuple(_published(measured, opened)), tuple(measured))


def _record(model: Model, measured: Sequence[Measurement]) -> EvaluationDocument:
    """Collect results in one document; one of stored results only has their date and versions."""
    from cbalign.engine.files import shown_path
    from cbalign.evaluation.result import EvaluationDocument

    documents = [document for one in measured for document in one.stored]
    all_stored = bool(documents) and all(one.stored for one in measured)
    newest = max(documents, key=lambda document: document.created) if all_stored else None
    return EvaluationDocument(
        subject=str(shown_path(model.path)),
        step=model._opened.step,
        backend=model._opened.backend,
        results=tuple(result for one in measured for result in one.results),
        versions=installed(_PACKAGES) if newest is None else newest.versions,
        created=datetime.now(UTC).isoformat(timespec="seconds") if newest is None else newest.created,
    )


def _published(measured: Sequence[Measurement], opened: OpenedModel) -> Iterator[PublishedComparison]:
    """Yield published figures of the same protocols, compared with the results."""
    from cbalign.evaluation.published import MeasuredModel, compare_with_published

    model = MeasuredModel(opened.fine_tuned_on, opened.experiment.model.text.max_tokens)
    for one in measured:
        for result in one.results:
            yield from compare_with_published(result, one.section.on, one.data.data_sets(), model)


def _given(data: Pairs, on: str | None, opened: OpenedModel) -> tuple[str, OpenedModel]:
    """The opened model with the data in the place of a split of its spec."""
    from cbalign.api.memory import give_pairs
    from cbalign.experiment.unions import usable
    from cbalign.parts.registry import SOURCES

    split: str = on if on is not None and on in get_args(Split) else "test"
    section = usable(SOURCES)["memory"].model_validate(give_pairs("data", data))
    sections = opened.experiment.data.model_copy(update={split: section})
    experiment = opened.experiment.model_copy(update={"data": sections})
    return split, replace(opened, experiment=experiment)


def _keep(record: EvaluationDocument, measured: Sequence[Measurement], stored: StoredResults) -> None:
    """Store the results that were measured now, each in a document of its own."""
    from cbalign.tasks.stored_results import inputs_of, with_position

    for one in measured:
        if not one.stored:
            for position, result in enumerate(one.results):
                inputs = inputs_of(one.section, one.data, one.contents, result.protocol)
                numbered = with_position(inputs, position, len(one.results))
                stored.keep(replace(record, results=(result,), inputs=numbered))
