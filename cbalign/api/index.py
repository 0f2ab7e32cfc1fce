"""A searchable folder of images, in Python."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbalign.api.vectors import Hit, Ranking
from cbalign.errors import UsageError
from cbalign.runtime.images import Picture

if TYPE_CHECKING:
    from cbalign.api.model import Model
    from cbalign.apps.search.index import SearchIndex as Vectors


class Index:
    """The images of a folder with their vectors. Make it with `cbalign.index`; vectors are kept between calls."""

    def __init__(self, model: Model, vectors: Vectors) -> None:
        self._model = model
        self._vectors = vectors

    @property
    def folder(self) -> Path:
        """The folder of images."""
        return self._vectors.folder

    @property
    def problems(self) -> dict[str, str]:
        """Files that cannot be used, with the reason, by path."""
        return dict(self._vectors.changes.problems)

    def __len__(self) -> int:
        return len(self._vectors.contents.paths)

    def search(self, query: str | Picture, top: int = 10, *, rerank: int = 0) -> Ranking:
        """Find the images that fit a query best.

        Args:
            query: a text; or an example image as a `Path`, bytes, Pillow image or array.
            top: how many to return.
            rerank: how many of the best are ordered by match score; needs a text query.
        """
        from cbalign.apps.search.find import find_nearest

        if rerank and not isinstance(query, str):
            raise UsageError("rerank needs a text query: the match head compares images with texts")
        vector = self._model.encode_texts(query) if isinstance(query, str) else self._model.encode_images(query)
        found = find_nearest(self._vectors, vector, max(top, rerank))
        hits = [Hit(i, self.folder / hit.path, hit.score) for i, hit in enumerate(found)]
        if rerank and isinstance(query, str):
            hits = self._model._reranked(query, hits, rerank)
        label = query if isinstance(query, str) else "example image"
        return Ranking(label, tuple(hits[:top]))

    def to_dict(self) -> dict[str, Any]:
        """Folder, number of images and unusable files, as plain data."""
        return {"folder": str(self.folder), "images": len(self), "problems": self.problems}

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"

    def __repr__(self) -> str:
        problems = f", {len(self.problems):,} unusable files" if self.problems else ""
        return f"Index of {len(self):,} images in {self.folder}{problems}"


def index(
    model: Model | str | Path,
    folder: str | Path,
    *,
    cache: str | Path | None = None,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> Index:
    """Index the images of a folder for search; only new and changed files are read again.

    Args:
        model: a model, as `cbalign.load` opens it, or the path of a run or bundle.
        folder: of the images, with its subfolders.
        cache: where vectors are kept; the user's cache folder when left out.
        progress: called with the number of files done and in total.

    Raises:
        DataError: the folder does not exist or has no images.
        UsageError: the model embeds no images.
    """
    from cbalign.api.opening import load
    from cbalign.apps.search.index import index_folder

    opened = load(model) if isinstance(model, str | Path) else model
    place = None if cache is None else Path(cache)
    return Index(opened, index_folder(opened._encoder(), opened._identity(), Path(folder), place, progress))
