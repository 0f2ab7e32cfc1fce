"""Results of retrieval, and the document that results are stored in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from cbalign.errors import DataError
from cbalign.evaluation.base import PublishedProtocol, Result
from cbalign.evaluation.codes import CodebookUse
from cbalign.evaluation.diagnostics import DIRECTIONS, Diagnostics, titles
from cbalign.evaluation.metrics import CONFIDENCE, DirectionResult, paired_difference
from cbalign.evaluation.scored import ScoredResult
from cbalign.runtime.document import json_line
from cbalign.runtime.table import Block, Table

__all__ = ["EvaluationDocument", "Result", "RetrievalResult", "file_name"]

SCHEMA_VERSION = 1
_COMPARED = {"r1": "R@1", "r5": "R@5", "r10": "R@10", "mean_rank": "mean rank"}
_HEADER = ("protocol", "direction", "R@1", "R@5", "R@10", "mean rank", "median rank")


@dataclass(frozen=True)
class RetrievalResult(Result):
    """Retrieval in both directions by one protocol on one gallery.

    `top_k` is set for `rerank`, `codebook` for `code`. `gallery` is a fingerprint of the images' names and captions:
    ranks of two results can be compared query by query if it is equal.
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
    image_to_text: DirectionResult
    text_to_image: DirectionResult
    codebook: CodebookUse | None
    zero_shot: bool = False  # no model of the lineage was trained on this data set
    diagnostics: Diagnostics | None = None  # None of results of cbalign 0.1

    @property
    def protocol_name(self) -> str:
        """The protocol with its parameter: `rerank top 32`."""
        return self.protocol if self.top_k is None else f"{self.protocol} top {self.top_k}"

    @property
    def unreadable(self) -> int:
        """Number of unreadable images."""
        return self.skipped_images

    def describe(self) -> str:
        """Return the whole protocol: `rerank top 32 of 391 images × 391 texts, 64 px`."""
        kind = "zero-shot " if self.zero_shot else ""
        sizes = f"{self.images:,} images × {self.texts:,} texts, {self.image_size} px"
        return f"{kind}{self.protocol_name} of {sizes}"

    def flat(self) -> dict[str, float]:
        """Return the numbers by name, such as `dual/image_to_text/r1` and `code/codebook/perplexity_images`."""
        named = {
            f"{self.protocol}/{direction}/{name}": value
            for direction in DIRECTIONS
            for name, value in asdict(getattr(self, direction).metrics).items()
        }
        if self.codebook is not None:
            named |= {f"{self.protocol}/codebook/{name}": float(v) for name, v in asdict(self.codebook).items()}
        if self.diagnostics is not None:
            named |= {f"{self.protocol}/diagnostics/{name}": v for name, v in self.diagnostics.flat().items()}
        return named

    def headlines(self) -> dict[str, float]:
        """Return R@1 in both directions."""
        return {name: value for name, value in self.flat().items() if name.endswith("/r1")}

    def to_json(self) -> dict[str, object]:
        """Return JSON values, with the rank of every query."""
        values: dict[str, object] = {f.name: getattr(self, f.name) for f in fields(self)}
        values["describe"] = self.describe()
        for direction in DIRECTIONS:
            values[direction] = getattr(self, direction).to_json()
        values["codebook"] = None if self.codebook is None else asdict(self.codebook)
        values["diagnostics"] = None if self.diagnostics is None else self.diagnostics.to_json()
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RetrievalResult:
        """Read the values that `to_json` returns.

        Raises:
            DataError: they are malformed.
        """
        try:
            known = {f.name: values[f.name] for f in fields(cls) if f.name not in ("zero_shot", "diagnostics")}
            known["zero_shot"] = bool(values.get("zero_shot", False))
            for direction in DIRECTIONS:
                known[direction] = DirectionResult.from_json(values[direction])
            found = values.get("diagnostics")
            known["diagnostics"] = None if found is None else Diagnostics.from_json(found)
            known["codebook"] = None if values["codebook"] is None else CodebookUse(**values["codebook"])
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a retrieval result ({error!r})") from error

    def renamed(self, split: str) -> RetrievalResult:
        """Return the same result under another name of the split."""
        return replace(self, split=split)

    def titles(self) -> Mapping[str, str]:
        """Return the recalls and mean ranks of both directions, then all else, such as the codebook's use."""
        ranked = {
            f"{self.protocol}/{direction}/{name}": f"{words} {title}"
            for direction, words in DIRECTIONS.items()
            for name, title in _COMPARED.items()
        }
        if self.codebook is not None:
            ranked |= {name: name for name in self.flat() if name.startswith(f"{self.protocol}/codebook/")}
        if self.diagnostics is not None:
            named = titles([*self.diagnostics.flat()])
            ranked |= {f"{self.protocol}/diagnostics/{name}": title for name, title in named.items()}
        return ranked

    def paired_intervals(self, other: Result, resamples: int) -> Mapping[str, tuple[float, float]]:
        """Return the intervals of recalls and ranks, over queries drawn with replacement."""
        if not isinstance(other, type(self)) or self.gallery != other.gallery:
            return {}
        found: dict[str, tuple[float, float]] = {}
        for direction in DIRECTIONS:
            mine, theirs = getattr(self, direction).ranks, getattr(other, direction).ranks
            if len(mine) == len(theirs):
                interval = paired_difference(mine, theirs, resamples)
                for name, low in asdict(interval.low).items():
                    found[f"{self.protocol}/{direction}/{name}"] = (low, getattr(interval.high, name))
        if self.diagnostics is not None:
            of_texts = self.diagnostics.paired_intervals(other.diagnostics, resamples)
            found |= {f"{self.protocol}/diagnostics/{name}": ends for name, ends in of_texts.items()}
        return found

    def differences(self, published: PublishedProtocol) -> Iterator[str]:
        """Compare candidates and zero-shot."""
        if self.top_k != published.top_k:
            yield f"top {self.top_k}, published {published.top_k}"
        if self.zero_shot != published.zero_shot:
            mine, theirs = ("zero-shot" if each else "not zero-shot" for each in (self.zero_shot, published.zero_shot))
            yield f"{mine}, published {theirs}"

    @classmethod
    def blocks(cls, results: Sequence[RetrievalResult]) -> list[Block]:
        """Lay out all results in one table below their captions."""
        several = len({result.split for result in results}) > 1
        rows = [row for result in results for row in result._rows(several)]
        notes = [result._codebook_note() for result in results if result.codebook is not None]
        captions = dict.fromkeys(result._caption() for result in results)
        ranks = Table.of(_HEADER, rows, right=range(2, len(_HEADER)), notes=notes, ruled=True)
        return [*captions, ranks, *_diagnostics_blocks(results)]

    def _caption(self) -> str:
        line = (
            f"{self.split} ({self.source}): {self.images:,} images × {self.texts:,} texts, {self.image_size} px; "
            "R@K in per cent: a correct match among the first K, ties count against the model"
        )
        if self.zero_shot:
            line += "; zero-shot: not trained on this data set"
        if self.image_to_text.interval is not None:
            line += f"; [{CONFIDENCE} % interval over queries]"
        if self.skipped_images:
            line += f"; {self.skipped_images:,} unreadable images skipped"
        return line

    def _rows(self, name_split: bool) -> Iterator[tuple[str, ...]]:
        name = f"{self.split}: {self.protocol_name}" if name_split else self.protocol_name
        for direction, words in DIRECTIONS.items():
            yield (name, words, *_cells(getattr(self, direction)))

    def _codebook_note(self) -> str:
        use = self.codebook
        assert use is not None
        return (
            f"codebook on {self.split}: {use.used} of {use.size} codes used (images {use.used_by_images}, texts "
            f"{use.used_by_texts}), perplexity {use.perplexity_images:.1f} and {use.perplexity_texts:.1f}, "
            f"{use.agreement:.1f} % of texts have their image's code"
        )


def _diagnostics_blocks(results: Sequence[RetrievalResult]) -> Iterator[Table]:
    """Lay out the diagnostics of each split in one short table."""
    for split in dict.fromkeys(result.split for result in results):
        measured = [(r.protocol_name, r.diagnostics) for r in results if r.split == split and r.diagnostics is not None]
        lines = [line for name, diagnostics in measured for line in diagnostics.lines(name)]
        if lines:
            yield Table.headless(lines, title=f"diagnostics on {split}")


def _cells(direction: DirectionResult) -> tuple[str, ...]:
    m, interval = direction.metrics, direction.interval
    recalls = []
    for name in ("r1", "r5", "r10"):
        text = f"{getattr(m, name):.1f}"
        if interval is not None:
            text += f" [{getattr(interval.low, name):.1f}, {getattr(interval.high, name):.1f}]"
        recalls.append(text)
    return (*recalls, f"{m.mean_rank:.1f}", f"{m.median_rank:g}")


@dataclass(frozen=True)
class EvaluationDocument:
    """Results of one model: `subject` is its run or bundle, `step` the checkpoint, `backend` the runtime and device.

    `inputs` is what a stored result was measured with: settings, data, version.
    """

    subject: str
    step: int | None
    backend: str
    results: tuple[Result, ...]
    versions: Mapping[str, str]
    created: str  # UTC, ISO 8601
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def to_data(self) -> dict[str, object]:
        """Return JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "inputs" or self.inputs}
        return {**values, "results": [result.to_json() for result in self.results]}

    def to_json(self) -> str:
        """Return one JSON document."""
        values = {"schema_version": SCHEMA_VERSION, **self.to_data()}
        return json_line(values)

    @classmethod
    def from_json(cls, text: str, *, name: str = "evaluation") -> EvaluationDocument:
        """Read a document that `to_json` wrote.

        Raises:
            DataError: the document is malformed or of a newer format.
        """
        try:
            values = json.loads(text)
            if values["schema_version"] > SCHEMA_VERSION:
                raise DataError(f"{name} was written by a newer cbalign", remedy="Update cbalign.")
            known = {f.name: values[f.name] for f in fields(cls) if f.name != "inputs"}
            known["inputs"] = dict(values.get("inputs", {}))
            known["results"] = tuple(map(_result_from_json, values["results"]))
            return cls(**known)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise DataError(f"{name}: not an evaluation ({error!r})") from error


def file_name(result: Result, step: int | None) -> str:
    """Return the file name of a result of a run, such as `test-rerank32-step1200.json`."""
    protocol = result.protocol_name.replace(" top ", "").replace(" ", "-")
    return f"{result.split}-{protocol}" + ("" if step is None else f"-step{step}") + ".json"


_CLASSES: Mapping[str | None, type[RetrievalResult | ScoredResult]] = {None: RetrievalResult, "scored": ScoredResult}
"""The classes of results by their `kind` in a document."""


def _result_from_json(values: Mapping[str, Any]) -> Result:
    return _CLASSES[values.get("kind")].from_json(values)
