"""Compare the evaluation metrics of runs, with paired intervals if the queries are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cbalign.engine.manifest import Manifest
from cbalign.engine.run import RunFolder
from cbalign.errors import DataError
from cbalign.evaluation.result import EvaluationDocument, Result
from cbalign.experiment.operands import Operand
from cbalign.parts.metrics import better

RESAMPLES = 1000
_RANKS = ("mean rank", "mean_rank", "median_rank")
_MINOR = ("/codebook/", ", diagnostics: ")
Judgement = Literal["better", "worse", "not a clear change", "the same", "changed", ""]


@dataclass(frozen=True)
class MetricChange:
    """Difference between the first run and another one, with its interval if available."""

    delta: float
    interval: tuple[float, float] | None
    judgement: Judgement


@dataclass(frozen=True)
class MetricRow:
    """One metric of each run, `None` if a run lacks it, and the change from the first run to each other one."""

    name: str  # `validation rerank top 16, text → image R@1`
    values: tuple[float | None, ...]
    changes: tuple[MetricChange | None, ...]  # one fewer than values

    @property
    def is_minor(self) -> bool:
        """Whether a short table omits it: ranks in addition to recalls, the codebook's statistics, diagnostics."""
        return self.name.endswith(_RANKS) or any(each in self.name for each in _MINOR)


@dataclass(frozen=True)
class MetricTable:
    """All metrics of at least two runs, and notes about missing intervals."""

    rows: tuple[MetricRow, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Kept:
    """Stored evaluations of an operand: the newest result of each split and protocol."""

    name: str
    results: Mapping[str, tuple[int | None, Result]]
    training: Mapping[str, float]
    unread: tuple[str, ...] = ()


def compare_metrics(operands: Sequence[Operand]) -> MetricTable:
    """Compare the metrics of runs or checkpoints; other operands have none.

    Uses the newest results of a run and the results at the step of a checkpoint. Ranks stored by `cbalign evaluate` are
    compared query by query; evaluations during training store no ranks, so their metrics have no intervals.

    Raises:
        CheckpointError: a manifest is damaged.
    """
    kept = [_read(operand) for operand in operands]
    keys = [key for key in dict.fromkeys(k for each in kept for k in each.results) if _in_two(kept, key)]
    rows: list[MetricRow] = []
    remarks = [
        f"{each.name}: {file} is not an evaluation that cbalign can read." for each in kept for file in each.unread
    ]
    for key in keys:
        found = [each.results.get(key) for each in kept]
        rows += _rows(key, [result for _, result in (f or (None, None) for f in found)])
        remarks += _remarks(key, kept, found)
    if not keys:
        rows = _of_trainings(kept)
        if rows:
            lacking = [each.name for each in kept if not each.results] or ["each of them"]
            remarks.append(
                f"No intervals: these metrics are from evaluations during training, which store no ranks. "
                f"Run `cbalign evaluate` on {' and '.join(lacking)} to store them."
            )
    return MetricTable(tuple(rows), tuple(dict.fromkeys(remarks)))


def _in_two(kept: Sequence[_Kept], key: str) -> bool:
    return sum(key in each.results for each in kept) > 1


def _read(operand: Operand) -> _Kept:
    if operand.run is None:
        return _Kept(operand.name, {}, {})
    run = RunFolder(operand.run)
    wanted = None
    if operand.kind == "checkpoint" and operand.folder is not None:
        wanted = int(operand.folder.absolute().name.rpartition("-")[2])
    results: dict[str, tuple[int | None, Result]] = {}
    unread = []
    for path in sorted(run.evaluation.glob("*.json")):
        evaluation = _evaluation(path)
        if evaluation is None:
            unread.append(path.name)
            continue
        if wanted is not None and evaluation.step != wanted:
            continue
        for result in evaluation.results:
            key = f"{result.split} {result.protocol_name}"
            if key not in results or (results[key][0] or 0) <= (evaluation.step or 0):
                results[key] = (evaluation.step, result)
    training: Mapping[str, float] = {}
    if wanted is None and run.manifest.is_file():
        training = Manifest.read(run.manifest).metrics
    return _Kept(operand.name, results, training, tuple(unread))


def _evaluation(path: Path) -> EvaluationDocument | None:
    try:
        return EvaluationDocument.from_json(path.read_text(encoding="utf-8"), name=str(path))
    except (OSError, UnicodeDecodeError, DataError):
        return None


def _rows(key: str, results: Sequence[Result | None]) -> list[MetricRow]:
    """Compare the results of one split and protocol, with intervals where the same items were measured."""
    present = [result for result in results if result is not None]
    titles = {name: title for result in reversed(present) for name, title in result.titles().items()}
    names = dict.fromkeys(name for result in present for name in result.titles())
    flat = [result.flat() if result is not None else {} for result in results]
    intervals = [_intervals(results[0], result) for result in results[1:]]
    return [_row(f"{key}, {titles[name]}", name, [each.get(name) for each in flat], intervals) for name in names]


def _intervals(first: Result | None, other: Result | None) -> Mapping[str, tuple[float, float]]:
    return {} if first is None or other is None else first.paired_intervals(other, RESAMPLES)


def _row(
    title: str, name: str, values: Sequence[float | None], intervals: Sequence[Mapping[str, tuple[float, float]]]
) -> MetricRow:
    first = values[0]
    changes = tuple(
        None if value is None or first is None else _change(name, value - first, found.get(name))
        for value, found in zip(values[1:], intervals)
    )
    return MetricRow(title, tuple(values), changes)


def _change(name: str, delta: float, interval: tuple[float, float] | None) -> MetricChange:
    return MetricChange(delta, interval, "" if interval is None else judge_change(name, delta, *interval))


def judge_change(field: str, delta: float, low: float, high: float) -> Judgement:
    """Judge a difference by its interval; the change is not clear if the interval contains 0."""
    if delta == low == high == 0:
        return "the same"
    if low <= 0 <= high:
        return "not a clear change"
    wanted = better(field)
    if wanted == "neither":
        return "changed"
    return "better" if (delta > 0) == (wanted == "higher") else "worse"


def _remarks(key: str, kept: Sequence[_Kept], found: Sequence[tuple[int | None, Result] | None]) -> list[str]:
    """Explain missing intervals, and list the evaluated steps if they differ."""
    said = []
    present = [(each.name, *f) for each, f in zip(kept, found) if f]
    if len({result.gallery for _, _, result in present}) > 1:
        said.append(f"{key}: no interval, because different images or texts were evaluated and cannot be paired.")
    steps = [step for _, step, _ in present]
    if len(set(steps)) > 1:
        measured = ", ".join(f"{name} at step {step}" for name, step, _ in present)
        said.append(f"Evaluated: {measured}.")
    return said


def _of_trainings(kept: Sequence[_Kept]) -> list[MetricRow]:
    """Return the metrics of evaluations during training."""
    names = dict.fromkeys(name for each in kept for name in each.training)
    unpaired: list[Mapping[str, tuple[float, float]]] = [{}] * (len(kept) - 1)
    rows = [_row(name, name, [each.training.get(name) for each in kept], unpaired) for name in names]
    return [row for row in rows if sum(value is not None for value in row.values) > 1]
