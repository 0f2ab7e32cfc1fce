"""Exact ranking in chunks; ties count against the model.

A wrong item with the same score as the right one is ranked before it, so a model that gives all items the same score
is last, not first. How many wrong items have that score is counted as well: without them the rank is optimistic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import FloatArray, IntArray

_CHUNK_SCORES = 1 << 23  # scores held at a time: 32 MiB in float32
_BLOCK_VALUES = 1 << 23  # gallery values converted at a time: 64 MiB in float64


@dataclass(frozen=True)
class Relevance:
    """Which items are right for which query: pairs (P,) of a query and an item, sorted by query."""

    query: IntArray
    item: IntArray
    queries: int
    items: int

    @classmethod
    def captions_of_images(cls, caption_image: IntArray, images: int) -> Relevance:
        """Images ask, texts answer: every caption of an image is right.

        Args:
            caption_image: (T,) the image that each text belongs to.
            images: how many there are.
        """
        order = np.argsort(caption_image, kind="stable")
        return cls(caption_image[order], order, images, len(caption_image))

    @classmethod
    def image_of_captions(cls, caption_image: IntArray, images: int) -> Relevance:
        """Texts ask, images answer: one image is right."""
        return cls(np.arange(len(caption_image)), caption_image, len(caption_image), images)

    @classmethod
    def captions_of_captions(cls, caption_image: IntArray) -> tuple[Relevance, IntArray]:
        """Texts ask, the other texts of the same image answer; with the text (Q,) that each query is.

        Texts that are alone with their image do not ask.
        """
        order = np.argsort(caption_image, kind="stable")
        owner = caption_image[order]
        starts, counts = np.searchsorted(owner, owner), np.bincount(caption_image)[owner]
        asking = np.flatnonzero(counts > 1)
        query, item = [], []
        for number, place in enumerate(asking):
            own = order[starts[place] : starts[place] + counts[place]]
            others = own[own != order[place]]
            query.append(np.full(len(others), number))
            item.append(others)
        empty = np.empty(0, np.int64)
        pairs = [np.concatenate([empty, *each]) for each in (query, item)]
        return cls(pairs[0], pairs[1], len(asking), len(caption_image)), order[asking]


@dataclass(frozen=True)
class GalleryRanking:
    """Result of one direction with Q queries.

    Attributes:
        ranks: (Q,) counted from 1; wrong items with the score of the best right one are ranked before it.
        candidates: (Q, k) in no order.
        tied: (Q,) the number of these wrong items; `ranks - tied` are the optimistic ranks.
    """

    ranks: IntArray
    candidates: IntArray
    tied: IntArray


def rank(
    queries: FloatArray,
    items: FloatArray,
    relevance: Relevance,
    candidates: int = 0,
    without: IntArray | None = None,
) -> GalleryRanking:
    """Rank by inner product.

    The rank of a query is 1 plus the number of wrong items that score at least as high as its best right item.

    Args:
        queries: (Q, d).
        items: (G, d).
        relevance: what is right.
        candidates: how many of the best items to name per query, wrong ones before right ones of the same score.
        without: (Q,) an item that each query must not find, such as the query itself.
    """
    k = min(candidates, relevance.items)
    ranks, tied = np.empty((2, relevance.queries), np.int64)
    best = np.empty((relevance.queries, k), np.int64)
    for chunk, scores in _score_chunks(queries, items):
        pairs = slice(*np.searchsorted(relevance.query, [chunk.start, chunk.stop]))
        row, item = relevance.query[pairs] - chunk.start, relevance.item[pairs]
        if without is not None:
            scores[np.arange(len(scores)), without[chunk]] = -np.inf
        right = scores[row, item]
        found = np.full(len(scores), -np.inf, np.float32)
        np.maximum.at(found, row, right)
        at_least = (scores >= found[:, None]).sum(axis=1)
        np.subtract.at(at_least, row, right >= found[row])
        ranks[chunk] = 1 + at_least
        equal = (scores == found[:, None]).sum(axis=1)
        np.subtract.at(equal, row, right == found[row])
        tied[chunk] = equal
        if k:
            best[chunk] = _top(scores, row, item, k)
    return GalleryRanking(ranks, best, tied)


def rank_candidates(candidate_scores: FloatArray, right: NDArray[np.bool_], dual_ranks: IntArray) -> IntArray:
    """Ranks (Q,) after the candidates of each query were put in the order of another score.

    Items that are no candidates keep their order behind all candidates. So a query with a right candidate has 1 plus
    the number of wrong candidates that score at least as high; one without keeps its rank, which is beyond k.

    Args:
        candidate_scores: (Q, k).
        right: (Q, k) whether the candidate is right.
        dual_ranks: (Q,) ranks by the score that chose the candidates.
    """
    best = np.where(right, candidate_scores, -np.inf).max(axis=1, keepdims=True)
    among = 1 + (~right & (candidate_scores >= best)).sum(axis=1)
    return np.where(right.any(axis=1), among, dual_ranks)


def tied_candidates(candidate_scores: FloatArray, right: NDArray[np.bool_], dual_tied: IntArray) -> IntArray:
    """Count the wrong candidates (Q,) with the score of the best right one; see `rank_candidates`."""
    best = np.where(right, candidate_scores, -np.inf).max(axis=1, keepdims=True)
    return np.where(right.any(axis=1), (~right & (candidate_scores == best)).sum(axis=1), dual_tied)


def _score_chunks(queries: FloatArray, items: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
    """Slices of the queries with their scores (q, G) in float32.

    Sums are made in float64 and rounded: equal vectors then tie, whatever order the linear algebra adds in.
    """
    rows = max(1, _CHUNK_SCORES // max(1, len(items)))
    columns = max(1, _BLOCK_VALUES // max(1, items.shape[1]))
    for start in range(0, len(queries), rows):
        chunk = slice(start, min(start + rows, len(queries)))
        wide = queries[chunk].astype(np.float64)
        scores = np.empty((len(wide), len(items)), np.float32)
        for first in range(0, len(items), columns):
            block = slice(first, first + columns)
            scores[:, block] = wide @ items[block].astype(np.float64).T
        yield chunk, scores


def _top(scores: FloatArray, row: IntArray, item: IntArray, k: int) -> IntArray:
    """The k best items (q, k) of each row; right ones, at (row, item), lose ties."""
    if k == scores.shape[1]:
        return np.broadcast_to(np.arange(k), (len(scores), k))
    # Between two neighbouring float32 lie many float64: just below its own value, but above the next lower score.
    ordered = scores.astype(np.float64)
    ordered[row, item] = np.nextafter(ordered[row, item], -np.inf)
    return np.argpartition(ordered, -k, axis=1)[:, -k:]
