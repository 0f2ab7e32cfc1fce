"""Results of a model as values that print themselves: rankings and codes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cbalign.data.arrays import FloatArray, IntArray
from cbalign.errors import UsageError
from cbalign.runtime.images import Picture, open_image

_THUMBNAIL = 96


@dataclass(frozen=True)
class Hit:
    """One image of a ranking.

    Attributes:
        index: position of the image in what was ranked; in results of `Index.search`, the position by cosine.
        image: the image as it was given; in results of `Index.search`, its path.
        score: cosine with the query.
        match: match score, the logit of "fits"; None if the image was not reranked.
    """

    index: int
    image: Any
    score: float
    match: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The hit as plain data; an image that is not a path is left out."""
        named = str(self.image) if isinstance(self.image, str | Path) else None
        return {"index": self.index, "image": named, "score": self.score, "match": self.match}


@dataclass(frozen=True)
class Ranking(Sequence[Hit]):
    """Images ordered by how well they fit a query, best first; a sequence of `Hit`.

    Attributes:
        query: the text; `example image` for an image.
        hits: the hits, best first.
        folder: folder that relative paths of images belong to, if any.
    """

    query: str
    hits: tuple[Hit, ...]
    folder: Path | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, position: Any) -> Any:
        return self.hits[position]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def to_dict(self) -> dict[str, Any]:
        """The ranking as plain data."""
        return {"query": self.query, "hits": [hit.to_dict() for hit in self.hits]}

    def __repr__(self) -> str:
        rows = [f"Ranking for {self.query!r}"]
        for place, hit in enumerate(self.hits, 1):
            match = "" if hit.match is None else f"  match {hit.match:.2f}"
            rows.append(f"{place:>4}. {_label(hit.image, hit.index)}  cosine {hit.score:.3f}{match}")
        return "\n".join(rows)

    def _repr_html_(self) -> str:
        cells = []
        for hit in self.hits:
            match = "" if hit.match is None else f", match {hit.match:.2f}"
            label = escape(_label(hit.image, hit.index))
            picture = _thumbnail(hit.image, self.folder)
            shown = f'<img src="{picture}" alt="{label}">' if picture else label
            cells.append(
                f"<figure style='display:inline-block;margin:4px'>{shown}"
                f"<figcaption><small>{label}<br>cosine {hit.score:.3f}{match}</small></figcaption></figure>"
            )
        return f"<p>{escape(self.query)}</p><div>{''.join(cells)}</div>"


@dataclass(frozen=True)
class Codes:
    """Nearest prototype of each vector.

    z are the n unit vectors (n, d), C the K prototypes of the codebook as unit vectors (d, K), τ is
    `model.codebook.temperature`.

    Attributes:
        code: (n,) number of the nearest prototype, 0 to K - 1.
        probabilities: (n, K) softmax(z C / τ), a distribution over the prototypes.
        prototype: (n, d) the nearest prototype, a unit vector.
    """

    code: IntArray
    probabilities: FloatArray
    prototype: FloatArray

    def __len__(self) -> int:
        return len(self.code)

    def to_dict(self) -> dict[str, Any]:
        """Codes with the probability of each, as plain data."""
        return {"code": self.code.tolist(), "probability": self.probabilities.max(axis=1).tolist()}

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self.code[:12].tolist())) + (", …" if len(self) > 12 else "")
        return f"Codes of {len(self)} vectors among {self.probabilities.shape[1]} prototypes: {shown}"


def are_vectors(values: object) -> bool:
    """Whether an array holds vectors and not an image: (d,) or (n, d), floating point."""
    return isinstance(values, np.ndarray) and values.ndim in (1, 2) and values.dtype.kind == "f"


def of_width(width: int, vectors: Any) -> FloatArray:
    """Return vectors as (n, d); one vector has n = 1.

    Raises:
        UsageError: they do not have `width` dimensions.
    """
    found: FloatArray = np.atleast_2d(np.asarray(vectors))
    if found.shape[1] != width:
        raise UsageError(
            f"vectors of shape {np.shape(vectors)}, but this model's have d = {width} dimensions",
            remedy="Pass vectors (n, d) or (d,) that this model encoded.",
        )
    return found


def _label(image: object, index: int) -> str:
    return str(image) if isinstance(image, str | Path) else f"image {index}"


def _thumbnail(image: Picture, folder: Path | None) -> str | None:
    """The image as a data URI, or None if it cannot be opened."""
    try:
        given = folder / image if folder is not None and isinstance(image, str) else image
        picture = open_image(given)
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BILINEAR)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
    except Exception:  # a notebook shows the name of what it cannot draw
        return None
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
