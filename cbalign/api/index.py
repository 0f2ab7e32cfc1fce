"""A searchable folder of images, in Python."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbalign.api.arguments import whole
from cbalign.api.progress import files
from cbalign.api.queries import Query, checked_query, query_vector, ranking_of
from cbalign.api.vectors import Hit, Ranking

if TYPE_CHECKING:
    from cbalign.api.bundles import Bundle
    from cbalign.api.model import Model
    from cbalign.api.runs import Run
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

    def search(self, query: Query, top: int = 10, *, rerank: int = 0) -> Ranking:
        """Find the images that fit a query best.

        Args:
            query: a text; or an example image, but not as a str, which is always a text.
            top: number of hits to return.
            rerank: reorder this many of the best hits by match score; 0: none. Needs a text query.

        Returns:
            Hits, best first; `Hit.image` is the path.

        Raises:
            UsageError: the model has no match head for `rerank`.
        """
        from cbalign.apps.search.find import find_nearest

        query, rerank, top = checked_query(query, rerank), whole("rerank", rerank, 0), whole("top", top, 1)
        found = find_nearest(self._vectors, query_vector(self._model, query), max(top, rerank))
        hits = [Hit(i, self.folder / hit.path, hit.score) for i, hit in enumerate(found)]
        return ranking_of(self._model, query, hits, rerank=rerank, top=top)

    def to_dict(self) -> dict[str, Any]:
        """Folder, number of images and unusable files, as plain data."""
        return {"folder": str(self.folder), "images": len(self), "problems": self.problems}

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"

    def __repr__(self) -> str:
        count = len(self.problems)
        problems = f", {count:,} unusable file{'s' * (count != 1)}" if count else ""
        return f"Index of {len(self):,} images in {self.folder}{problems}"


def index(
    model: Model | str | Path | Run | Bundle,
    folder: str | Path,
    *,
    cache: str | Path | None = None,
    progress: bool | Callable[[int, int], Any] = False,
) -> Index:
    """Index the images of a folder for search; only new and changed files are read again.

    Args:
        model: a `Model`, or what `cbalign.load` takes.
        folder: folder of images, searched with its subfolders.
        cache: where vectors are kept; default: the user's cache folder.
        progress: whether to show the progress; or called as `progress(done, total)` with numbers of files.

    Raises:
        DataError: the folder does not exist or has no images.
        UsageError: the model embeds no images.
    """
    from cbalign.api.model import Model
    from cbalign.api.opening import load
    from cbalign.apps.search.index import index_folder

    opened = model if isinstance(model, Model) else load(model)
    place, where = None if cache is None else Path(cache), Path(folder).expanduser().absolute()
    return Index(opened, index_folder(opened._encoder(), opened._identity(), where, place, files(progress)))
