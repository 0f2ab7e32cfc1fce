"""Results of evaluations that score every item: classifiers and answers to questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import IntArray
from cbalign.errors import DataError
from cbalign.evaluation.base import PublishedProtocol, Result
from cbalign.evaluation.metrics import CONFIDENCE, mean_interval
from cbalign.runtime.table import Block, Column, Table

ScoreArray = NDArray[np.float64]


@dataclass(frozen=True)
class Confusion:
    """Counts of items of class i (rows) that were predicted as class j (columns)."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, labels: Sequence[str], targets: IntArray, predicted: IntArray) -> Confusion:
        """Count the classes (Q,) and predictions (Q,) of items."""
        counts = np.zeros((len(labels), len(labels)), np.int64)
        np.add.at(counts, (targets, predicted), 1)
        return cls(tuple(labels), tuple(tuple(map(int, row)) for row in counts))

    def table(self) -> Table:
        """Lay out the counts, with the share of correct predictions of each class."""
        header = ("label \\ prediction", *self.labels, "correct %")
        rows = []
        for i, (label, counts) in enumerate(zip(self.labels, self.counts)):
            share = f"{100 * counts[i] / sum(counts):.1f}" if sum(counts) else "–"
            rows.append((label, *(f"{count:,}" for count in counts), share))
        return Table.of(header, rows, right=range(1, len(header)), ruled=True)


@dataclass(frozen=True)
class ClassAccuracy:
    """The accuracy of the items of one class, in per cent."""

    label: str
    items: int
    accuracy: float


_WORST = 5  # classes that a report names


@dataclass(frozen=True)
class ScoredResult(Result):
    """One score for every item, and the numbers that follow from them.

    `gallery` is a fingerprint of the items: scores of two results can be compared item by item if it is equal.
    `metrics` are in per cent; the first is the headline, the mean of the scores, and `interval` its 95 % interval.
    """

    protocol: str  # `accuracy`, `vqa`
    setting: str  # the protocol's parameter: `top 128`; empty if it has none
    split: str
    source: str
    gallery: str
    items: int
    skipped: int  # items with unreadable images, left out
    image_size: int
    ids: tuple[int | str, ...]  # of the items, in order
    predictions: tuple[str, ...]  # the model's prediction for each
    scores: ScoreArray  # (Q,) in [0, 1]
    metrics: Mapping[str, float]
    interval: tuple[float, float] | None
    confusion: Confusion | None = None
    classes: tuple[ClassAccuracy, ...] = ()
    notes: tuple[str, ...] = ()  # reservations about the metrics

    @property
    def protocol_name(self) -> str:
        """The protocol with its parameter."""
        return f"{self.protocol} {self.setting}".rstrip()

    @property
    def unreadable(self) -> int:
        """Number of items with unreadable images."""
        return self.skipped

    @property
    def headline(self) -> str | None:
        """The name of the first metric."""
        return next(iter(self.metrics), None)

    def describe(self) -> str:
        """Return the whole protocol: `accuracy of 6,967 items, 384 px`."""
        return f"{self.protocol_name} of {self.items:,} items, {self.image_size} px"

    def flat(self) -> dict[str, float]:
        """Return the numbers by name, such as `accuracy`."""
        return dict(self.metrics)

    def titles(self) -> Mapping[str, str]:
        """Return the names of all metrics without protocol and setting."""
        return dict(zip(self.metrics, self._own_names(), strict=True))

    def headlines(self) -> dict[str, float]:
        """Return the first metric."""
        return {name: self.metrics[name] for name in [*self.metrics][:1]}

    def to_json(self) -> dict[str, object]:
        """Return JSON values, with score and prediction of every item."""
        values: dict[str, object] = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {
            "kind": "scored",
            "describe": self.describe(),
            "metrics": dict(self.metrics),
            "scores": self.scores.tolist(),
            "confusion": None if self.confusion is None else asdict(self.confusion),
            "classes": [asdict(each) for each in self.classes],
        }

    def paired_intervals(self, other: Result, resamples: int) -> Mapping[str, tuple[float, float]]:
        """Return the interval of the change of the headline, over items drawn with replacement."""
        if not isinstance(other, type(self)) or self.headline is None or self.headline != other.headline:
            return {}
        if self.gallery != other.gallery or self.items != other.items:
            return {}
        return {self.headline: mean_interval(100 * (other.scores - self.scores), resamples)}

    def differences(self, published: PublishedProtocol) -> Iterator[str]:
        """Compare items, candidates and left-out items."""
        if published.secret:
            yield "other items, published those of a server that keeps the answers"
        if published.top_k is not None and self.setting != f"top {published.top_k}":
            yield f"{self.setting}, published top {published.top_k}"
        if self.skipped:
            yield f"{self.skipped:,} items left out"

    @classmethod
    def blocks(cls, results: Sequence[ScoredResult]) -> list[Block]:
        """Lay out results as captions, tables of metrics with a column for each setting, and confusion matrices."""
        groups: dict[tuple[str, ...], list[ScoredResult]] = {}
        for result in results:
            groups.setdefault((result.split, result.source, result.protocol, *result._own_names()), []).append(result)
        return [block for group in groups.values() for block in _group_blocks(group)]

    def _own_names(self) -> list[str]:
        """Return the names of the metrics without protocol and setting."""
        return [name.removeprefix(f"{self.protocol}/{self.setting}/") for name in self.metrics]

    def _caption(self, settings: Sequence[str]) -> str:
        described = replace(self, setting=" and ".join(settings)).describe()
        line = f"{self.split} ({self.source}): {described}"
        if self.interval is not None:
            line += f"; [{CONFIDENCE} % interval over items]"
        if self.skipped:
            line += f"; {self.skipped:,} items with unreadable images skipped"
        line += "".join(f"; {note}" for note in self.notes)
        if not self.metrics:
            line += "; answers are not public, no metrics: write predictions to a file with --predictions"
        return line

    def _cells(self) -> Iterator[str]:
        for name, value in self.metrics.items():
            text = f"{value:.2f}"
            if self.interval is not None and name == self.headline:
                text += f" [{self.interval[0]:.2f}, {self.interval[1]:.2f}]"
            yield text

    def _notes(self) -> Iterator[str]:
        """Name the classes with the lowest accuracy, unless a table shows all of them."""
        if self.classes and self.confusion is None:
            worst = sorted(self.classes, key=lambda each: each.accuracy)[:_WORST]
            named = ", ".join(f"{each.label} {each.accuracy:.1f} (of {each.items:,})" for each in worst)
            yield f"lowest of {len(self.classes):,} classes: {named}"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ScoredResult:
        """Read the values that `to_json` returns.

        Raises:
            DataError: they are malformed.
        """
        try:
            known = {f.name: values[f.name] for f in fields(cls) if f.name not in ("classes", "notes")}
            known["classes"] = tuple(ClassAccuracy(**each) for each in values.get("classes", ()))
            known["notes"] = tuple(values.get("notes", ()))
            for name in ("ids", "predictions"):
                known[name] = tuple(values[name])
            known["scores"] = np.asarray(values["scores"], np.float64)
            known["interval"] = None if values["interval"] is None else tuple(values["interval"])
            confusion = values["confusion"]
            if confusion is not None:
                known["confusion"] = Confusion(tuple(confusion["labels"]), tuple(map(tuple, confusion["counts"])))
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a result with scores ({error!r})") from error

    def renamed(self, split: str) -> ScoredResult:
        """Return the same result under another name of the split."""
        return replace(self, split=split)


def interval_of(scores: ScoreArray, resamples: int) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean score in per cent, over resampled items; None without resamples."""
    return mean_interval(100 * scores, resamples) if resamples else None


def _group_blocks(results: Sequence[ScoredResult]) -> Iterator[Block]:
    """Lay out results with the same metrics by several settings of one protocol."""
    first, settings = results[0], [result.setting for result in results]
    yield first._caption(settings)
    if first.metrics:
        names = [f"{setting} %" for setting in settings] if len(results) > 1 else ["%"]
        header = (Column(), *(Column(name, right=True) for name in names))
        rows = list(zip(first._own_names(), *(result._cells() for result in results), strict=True))
        notes = [note for result in results for note in result._notes()]
        yield Table.of(header, rows, notes=notes, ruled=True)
    yield from (result.confusion.table() for result in results if result.confusion is not None)
