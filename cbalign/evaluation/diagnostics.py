"""What retrieval shows besides its ranks: geometry, information of codes, retrieval within texts, and ties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from cbalign.data.arrays import FloatArray, IntArray
from cbalign.evaluation.calibration import Calibration
from cbalign.evaluation.geometry import Geometry, evenly
from cbalign.evaluation.information import CodeInformation
from cbalign.evaluation.metrics import DirectionResult, RetrievalMetrics, paired_difference
from cbalign.evaluation.ranking import GalleryRanking, Relevance, rank

DIRECTIONS = {"image_to_text": "image → text", "text_to_image": "text → image"}
"""The directions of retrieval, by name, in words."""

_TEXTS, _TEXTS_IN_WORDS = "text_to_text", "text → text"


@dataclass(frozen=True)
class Ties:
    """Wrong items that have the score of the best right one, which the ranks count against the model.

    Attributes:
        ties: per cent of the queries that have any.
        optimistic_r1, optimistic_r5, optimistic_r10: recalls if none of them counted.
    """

    ties: float
    optimistic_r1: float
    optimistic_r5: float
    optimistic_r10: float

    @classmethod
    def of(cls, ranking: GalleryRanking) -> Ties:
        """Measure the ties of one direction."""
        best = RetrievalMetrics.of(ranking.ranks - ranking.tied)
        return cls(100 * float((ranking.tied > 0).mean()), best.r1, best.r5, best.r10)


@dataclass(frozen=True)
class Diagnostics:
    """What one protocol shows besides its ranks; None for what the protocol does not measure.

    Attributes:
        ties: of each direction.
        geometry: of the embeddings.
        text_to_text: retrieval of the other captions of the same image by each caption, without itself (Parekh et al.,
            EACL 2021, arXiv 2004.15020); queries are the captions of images that have several.
        codes: information of the codes of true pairs.
        calibration: of each direction of re-ranking; empty for other protocols.
    """

    ties: Mapping[str, Ties]
    geometry: Geometry | None = None
    text_to_text: DirectionResult | None = None
    codes: CodeInformation | None = None
    calibration: Mapping[str, Calibration] = field(default_factory=dict)

    def flat(self) -> dict[str, float]:
        """Return the numbers by name, such as `modality_gap` and `image_to_text_ties`."""
        named = {f"{way}_{name}": value for way, ties in self.ties.items() for name, value in asdict(ties).items()}
        for way, each in self.calibration.items():
            named |= {f"{way}_calibration_error": each.calibration_error, f"{way}_confidence": each.confidence}
        for part in (self.geometry, self.codes):
            if part is not None:
                named |= {name: value for name, value in asdict(part).items() if value is not None}
        if self.text_to_text is not None:
            named |= {f"{_TEXTS}_{name}": value for name, value in asdict(self.text_to_text.metrics).items()}
        return named

    def paired_intervals(self, other: Diagnostics | None, resamples: int) -> dict[str, tuple[float, float]]:
        """Return the intervals of the change of retrieval within texts, if both measured the same queries."""
        mine, theirs = self.text_to_text, other.text_to_text if other is not None else None
        if mine is None or theirs is None or len(mine.ranks) != len(theirs.ranks):
            return {}
        interval = paired_difference(mine.ranks, theirs.ranks, resamples)
        return {f"{_TEXTS}_{name}": (low, getattr(interval.high, name)) for name, low in asdict(interval.low).items()}

    def to_json(self) -> dict[str, object]:
        """Return JSON values, with the rank of every caption among captions."""
        return {
            "ties": {way: asdict(ties) for way, ties in self.ties.items()},
            "geometry": None if self.geometry is None else asdict(self.geometry),
            _TEXTS: None if self.text_to_text is None else self.text_to_text.to_json(),
            "codes": None if self.codes is None else asdict(self.codes),
            "calibration": {way: asdict(each) for way, each in self.calibration.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Diagnostics:
        """Read the values that `to_json` returns; raises KeyError or TypeError where they are malformed."""
        geometry, texts, codes = values["geometry"], values[_TEXTS], values["codes"]
        return cls(
            {way: Ties(**ties) for way, ties in values["ties"].items()},
            None if geometry is None else Geometry(**geometry),
            None if texts is None else DirectionResult.from_json(texts),
            None if codes is None else CodeInformation(**codes),
            {way: Calibration.from_json(each) for way, each in values["calibration"].items()},
        )

    def lines(self, protocol: str) -> Iterator[tuple[str, str]]:
        """Yield the name and the numbers of each kind of measurement, for reports."""
        if self.geometry is not None:
            yield "embeddings", _geometry_text(self.geometry)
        if self.text_to_text is not None:
            found = self.text_to_text
            recalls = ", ".join(f"R@{k} {getattr(found.metrics, f'r{k}'):.1f}" for k in (1, 5, 10))
            yield _TEXTS_IN_WORDS, f"{recalls} of {len(found.ranks):,} captions whose image has others"
        if self.codes is not None:
            codes = self.codes
            yield (
                "codes",
                f"mutual information {codes.mutual_information:.3f} nats, normalised {codes.normalised:.3f}, "
                f"adjusted for chance {codes.adjusted:.3f}",
            )
        if self.calibration:
            measured = [self.calibration[way] for way in DIRECTIONS]
            error, confidence = (
                " and ".join(f"{getattr(each, name):.1f}" for each in measured)
                for name in ("calibration_error", "confidence")
            )
            yield f"calibration of {protocol}", f"error {error} points, mean confidence {confidence} %"
        if any(ties.ties for ties in self.ties.values()):
            both = [self.ties[way] for way in DIRECTIONS]
            share, best = (
                " and ".join(f"{getattr(ties, name):.1f}" for ties in both) for name in ("ties", "optimistic_r1")
            )
            yield f"ties of {protocol}", f"{share} % of image and text queries; R@1 {best} if they did not count"


_TITLES = {
    "modality_gap": "modality gap",
    "alignment": "alignment",
    "text_to_text_r1": f"{_TEXTS_IN_WORDS} R@1",
    "adjusted": "mutual information of codes, adjusted",
}
"""Titles of the numbers that a short comparison shows."""


def titles(names: Sequence[str]) -> dict[str, str]:
    """Return a title for each name that `Diagnostics.flat` returns, for comparisons."""
    return {name: _TITLES.get(name, f"diagnostics: {name.replace('_', ' ')}") for name in names}


def texts_by_texts(texts: FloatArray, caption_image: IntArray, resamples: int) -> DirectionResult | None:
    """Rank the other captions of the same image by each caption; None if no image has two.

    Of very many captions, some at even distances ask (`cbalign.evaluation.geometry.evenly`); all are ranked.

    Args:
        texts: (T, d) unit vectors.
        caption_image: (T,) the image that each text belongs to.
        resamples: bootstrap samples.
    """
    relevance, asking = Relevance.captions_of_captions(caption_image)
    if not len(asking):
        return None
    chosen = evenly(len(asking))
    kept = np.isin(relevance.query, chosen)
    query = np.searchsorted(chosen, relevance.query[kept])
    some = Relevance(query, relevance.item[kept], len(chosen), relevance.items)
    ranking = rank(texts[asking[chosen]], texts, some, without=asking[chosen])
    return DirectionResult.of(ranking.ranks, resamples)


def _geometry_text(geometry: Geometry) -> str:
    words = []
    for each in fields(geometry):
        value = getattr(geometry, each.name)
        if value is not None:
            words.append(f"{each.name.replace('_', ' ')} {value:.3f}")
    return ", ".join(words)
