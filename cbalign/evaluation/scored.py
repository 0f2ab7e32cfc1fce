"""What an evaluation says that gives every item a score: whether a classifier is right, how well an answer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbalign.encoders import IntArray
from cbalign.errors import DataError
from cbalign.evaluation.metrics import mean_interval

ScoreArray = NDArray[np.float64]


@dataclass(frozen=True)
class Confusion:
    """How often items of class i (rows) were taken for class j (columns)."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, labels: Sequence[str], targets: IntArray, predicted: IntArray) -> Confusion:
        """Count classes (Q,) and predictions (Q,)."""
        counts = np.zeros((len(labels), len(labels)), np.int64)
        np.add.at(counts, (targets, predicted), 1)
        return cls(tuple(labels), tuple(tuple(map(int, row)) for row in counts))


@dataclass(frozen=True)
class ScoredResult:
    """One score for every item, and numbers that follow from them.

    `gallery` is a fingerprint of the items: scores of two results can be compared item by item where it is equal.
    `metrics` are in per cent, the first is the headline and the mean of the scores; `interval` is its 95 % interval.
    """

    protocol: str  # `accuracy`, `vqa`
    setting: str  # what else tells protocols apart: `top 128`; empty where nothing does
    split: str
    source: str
    gallery: str
    items: int
    skipped: int  # items with unreadable images, left out
    image_size: int
    ids: tuple[int | str, ...]  # of the items, in order
    predictions: tuple[str, ...]  # what the model said of each
    scores: ScoreArray  # (Q,) in [0, 1]
    metrics: Mapping[str, float]
    interval: tuple[float, float] | None
    confusion: Confusion | None = None

    @property
    def protocol_name(self) -> str:
        """The protocol with its parameter."""
        return f"{self.protocol} {self.setting}".rstrip()

    @property
    def headline(self) -> str | None:
        """The name of the first metric."""
        return next(iter(self.metrics), None)

    def describe(self) -> str:
        """The whole protocol: `accuracy of 6,967 items, 384 px`."""
        return f"{self.protocol_name} of {self.items:,} items, {self.image_size} px"

    def flat(self) -> dict[str, float]:
        """Numbers by name, such as `accuracy`."""
        return dict(self.metrics)

    def headlines(self) -> dict[str, float]:
        """The number to show where there is room for one."""
        return {name: self.metrics[name] for name in [*self.metrics][:1]}

    def to_json(self) -> dict[str, object]:
        """As JSON values, the score and the prediction of every item included."""
        values: dict[str, object] = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {
            "kind": "scored",
            "describe": self.describe(),
            "metrics": dict(self.metrics),
            "scores": self.scores.tolist(),
            "confusion": None if self.confusion is None else asdict(self.confusion),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ScoredResult:
        """Read what `to_json` gave.

        Raises:
            DataError: it is something else.
        """
        try:
            known = {f.name: values[f.name] for f in fields(cls)}
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
        """The same result under another name of the split."""
        return replace(self, split=split)


def interval_of(scores: ScoreArray, resamples: int) -> tuple[float, float] | None:
    """The 95 % interval of the mean score in per cent, over items drawn with replacement; None without resamples."""
    return mean_interval(100 * scores, resamples) if resamples else None
