"""Queries of a ranking or a search: a text, or an example image."""

from __future__ import annotations

import os
import warnings
from typing import TypeAlias

from cbalign.errors import UsageError
from cbalign.runtime.images import Picture

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
