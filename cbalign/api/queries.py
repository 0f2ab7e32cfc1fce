"""Queries of a ranking or a search, and what they find: a text, or an example image."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from cbalign.api.vectors import Hit, Ranking
from cbalign.data.arrays import FloatArray
from cbalign.errors import UsageError
from cbalign.runtime.images import Picture

if TYPE_CHECKING:
    from cbalign.api.model import Model

Query: TypeAlias = str | Picture
"""A text; or an example image as a `Path`, bytes, Pillow image, array or tensor. A str is always a text."""


def checked_query(query: Query, rerank: int) -> Query:
    """Return the query, with a warning if it is a text but names an existing file.

    Raises:
        UsageError: hits cannot be reranked by an image.
    """
    if rerank and not isinstance(query, str):
        raise UsageError("rerank needs a text query: the match head compares images with texts")
    if isinstance(query, str) and os.path.isfile(query):
        text = f"{query!r} is searched as a text, but there is a file of this name: wrap it in Path to search by image"
        warnings.warn(text, stacklevel=3)
    return query


def query_vector(model: Model, query: Query) -> FloatArray:
    """Embed a query: a unit vector (d,)."""
    return model.encode_texts(query) if isinstance(query, str) else model.encode_images(query)


def ranking_of(model: Model, query: Query, hits: Sequence[Hit], *, rerank: int, top: int | None) -> Ranking:
    """Return the best hits of a query.

    Args:
        model: gives match scores.
        query: the query.
        hits: ordered by cosine, best first.
        rerank: order this many of the first hits by match score; 0: none, as with an example image.
        top: number of hits; None: all.

    Raises:
        UsageError: the model has no match head for `rerank`.
    """
    if not isinstance(query, str):
        return Ranking("example image", tuple(hits[:top]))
    first = hits[:rerank]
    if first:
        scores = model.match([hit.image for hit in first], query)
        scored = [replace(hit, match=float(score)) for hit, score in zip(first, scores)]
        hits = [*sorted(scored, key=lambda hit: -(hit.match or 0.0)), *hits[rerank:]]
    return Ranking(query, tuple(hits[:top]))
