"""What an evaluation says: numbers that carry their protocol, and the document they are kept in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np

from cbalign.errors import DataError
from cbalign.evaluation.codes import CodebookUse
from cbalign.evaluation.metrics import Direction, Interval, RetrievalMetrics
from cbalign.evaluation.scored import ScoredResult
from cbalign.runtime.document import json_line

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class RetrievalResult:
    """Retrieval both ways by one protocol on one gallery.

    `top_k` is set for `rerank`, `codebook` for `code`. `gallery` is a fingerprint of the images' names and captions:
    ranks of two results can be compared query by query where it is equal.
    """

    protocol: str
    split: str
    source: str
    gallery: str
    images: int
    texts: int
    skipped_images: int
    image_size: int
    top_k: int | None
    image_to_text: Direction
    text_to_image: Direction
    codebook: CodebookUse | None
    zero_shot: bool = False  # no model of the lineage was trained on this data set

    @property
    def protocol_name(self) -> str:
        """The protocol with its parameter: `rerank top 32`."""
        return self.protocol if self.top_k is None else f"{self.protocol} top {self.top_k}"

    def describe(self) -> str:
        """The whole protocol: `rerank top 32 of 391 images × 391 texts, 64 px`."""
        kind = "zero-shot " if self.zero_shot else ""
        sizes = f"{self.images:,} images × {self.texts:,} texts, {self.image_size} px"
        return f"{kind}{self.protocol_name} of {sizes}"

    def flat(self) -> dict[str, float]:
        """Numbers by name, such as `dual/image_to_text/r1` and `code/codebook/perplexity_images`."""
        named = {
            f"{self.protocol}/{direction}/{name}": value
            for direction in ("image_to_text", "text_to_image")
            for name, value in asdict(getattr(self, direction).metrics).items()
        }
        if self.codebook is not None:
            named |= {f"{self.protocol}/codebook/{name}": float(v) for name, v in asdict(self.codebook).items()}
        return named

    def headlines(self) -> dict[str, float]:
        """The numbers to show where there is room for few: both R@1."""
        return {name: value for name, value in self.flat().items() if name.endswith("/r1")}

    def to_json(self) -> dict[str, object]:
        """As JSON values, the rank of every query included."""
        values: dict[str, object] = {f.name: getattr(self, f.name) for f in fields(self)}
        values["describe"] = self.describe()
        for direction in ("image_to_text", "text_to_image"):
            values[direction] = _direction_to_json(getattr(self, direction))
        values["codebook"] = None if self.codebook is None else asdict(self.codebook)
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RetrievalResult:
        """Read what `to_json` gave.

        Raises:
            DataError: it is something else.
        """
        try:
            known = {f.name: values[f.name] for f in fields(cls) if f.name != "zero_shot"}
            known["zero_shot"] = bool(values.get("zero_shot", False))
            known["image_to_text"] = _direction_from_json(values["image_to_text"])
            known["text_to_image"] = _direction_from_json(values["text_to_image"])
            known["codebook"] = None if values["codebook"] is None else CodebookUse(**values["codebook"])
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a retrieval result ({error!r})") from error

    def renamed(self, split: str) -> RetrievalResult:
        """The same result under another name of the split."""
        return replace(self, split=split)


Result: TypeAlias = RetrievalResult | ScoredResult
"""What an evaluation of either kind says. Both have `split`, `source`, `gallery`, `protocol_name`, `describe`, `flat`,
`to_json` and `renamed`."""


@dataclass(frozen=True)
class Evaluation:
    """Results of one model: `subject` names it (a run or bundle), `step` the checkpoint, `backend` what ran it."""

    subject: str
    step: int | None
    backend: str
    results: tuple[Result, ...]
    versions: Mapping[str, str]
    created: str  # UTC, ISO 8601

    def to_data(self) -> dict[str, object]:
        """As JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**values, "results": [result.to_json() for result in self.results]}

    def to_json(self) -> str:
        """One JSON document."""
        values = {"schema_version": SCHEMA_VERSION, **self.to_data()}
        return json_line(values)

    @classmethod
    def from_json(cls, text: str, *, name: str = "evaluation") -> Evaluation:
        """Read what `to_json` wrote.

        Raises:
            DataError: it is something else, or of a newer format.
        """
        try:
            values = json.loads(text)
            if values["schema_version"] > SCHEMA_VERSION:
                raise DataError(f"{name} was written by a newer cbalign", remedy="Update cbalign.")
            known = {f.name: values[f.name] for f in fields(cls)}
            known["results"] = tuple(map(_result_from_json, values["results"]))
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{name}: not an evaluation ({error!r})") from error


def file_name(result: Result, step: int | None) -> str:
    """Where a result of a run goes: `test-rerank32-step1200.json`; another k or checkpoint overwrites nothing."""
    protocol = result.protocol_name.replace(" top ", "")
    return f"{result.split}-{protocol}" + ("" if step is None else f"-step{step}") + ".json"


def largest_difference(a: Sequence[RetrievalResult], b: Sequence[RetrievalResult]) -> tuple[str, float]:
    """The recall in which two evaluations by the same protocols differ most, in points."""
    worst, gap = "no recall", 0.0
    for one, other in zip(a, b, strict=True):
        mine, theirs = one.flat(), other.flat()
        for name in mine:
            if name.rpartition("/")[2] in ("r1", "r5", "r10") and abs(mine[name] - theirs[name]) > gap:
                worst, gap = name, abs(mine[name] - theirs[name])
    return worst, gap


def surest_loss(before: Sequence[RetrievalResult], after: Sequence[RetrievalResult]) -> tuple[str, float]:
    """The recall that most surely fell between two evaluations of the same gallery, and by how many points at least.

    The loss is counted query by query: of those that cross a rank some fall and some rise, and two standard errors of
    their difference, 2√(fallen + risen), are taken off. 0 where nothing fell beyond that.
    """
    worst, loss = "no recall", 0.0
    for one, other in zip(before, after, strict=True):
        for direction in ("image_to_text", "text_to_image"):
            old, new = getattr(one, direction).ranks, getattr(other, direction).ranks
            for k in (1, 5, 10):
                fallen, risen = int(((old <= k) & (new > k)).sum()), int(((old > k) & (new <= k)).sum())
                points = 100 * (fallen - risen - 2 * (fallen + risen) ** 0.5) / len(old)
                if points > loss:
                    worst, loss = f"{one.protocol}/{direction}/r{k}", points
    return worst, loss


def _result_from_json(values: Mapping[str, Any]) -> Result:
    return (ScoredResult if values.get("kind") == "scored" else RetrievalResult).from_json(values)


def _direction_to_json(direction: Direction) -> dict[str, object]:
    interval = direction.interval
    return {
        "metrics": asdict(direction.metrics),
        "interval_95": None if interval is None else asdict(interval),
        "ranks": direction.ranks.tolist(),
    }


def _direction_from_json(values: Mapping[str, Any]) -> Direction:
    interval = values["interval_95"]
    return Direction(
        np.asarray(values["ranks"], np.int64),
        RetrievalMetrics(**values["metrics"]),
        None
        if interval is None
        else Interval(RetrievalMetrics(**interval["low"]), RetrievalMetrics(**interval["high"])),
    )
