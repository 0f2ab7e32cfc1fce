"""Write search results as a contact sheet, a self-contained HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from cbalign.apps.search.find import SearchHit
from cbalign.errors import DataError
from cbalign.runtime.images import decode_untrusted

THUMBNAIL = 240

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff; }
h1 { font-size: 1.3rem; } p { color: #666; }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); }
figure { margin: 0; } img { width: 100%; height: 240px; object-fit: contain; background: #f4f4f4; }
figcaption { overflow-wrap: anywhere; font-size: .85rem; } small { color: #666; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd; } img { background: #222; } }
""".strip()


def contact_sheet(title: str, about: str, folder: Path, hits: Sequence[SearchHit]) -> str:
    """Return the HTML page.

    Args:
        title: the query.
        about: one line about bundle and index.
        folder: folder that the hits' paths are relative to.
        hits: search results, best first.
    """
    figures = "\n".join(_figure(number, folder, hit) for number, hit in enumerate(hits, 1))
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{_safe(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n'
        f"<h1>{_safe(title)}</h1>\n<p>{_safe(about)}</p>\n<main>\n{figures}\n</main></html>\n"
    )


def thumbnail(path: Path, size: int = THUMBNAIL) -> bytes:
    """Return a JPEG thumbnail that fits into a square.

    Raises:
        DataError: the image is missing or damaged.
    """
    image = decode_untrusted(path)
    image.thumbnail((size, size))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def _figure(number: int, folder: Path, hit: SearchHit) -> str:
    path = folder / hit.path
    try:
        picture = f'<img src="data:image/jpeg;base64,{base64.b64encode(thumbnail(path)).decode()}" alt="">'
    except DataError:
        picture = "<p>removed or damaged after indexing</p>"
    scores = f"cosine {hit.score:.3f}" + ("" if hit.match is None else f", match {hit.match:.2f}")
    copies = f"<br><small>also {_safe(', '.join(hit.copies))}</small>" if hit.copies else ""
    return (
        f'<figure><a href="{escape(path.as_uri())}">{picture}</a>'
        f"<figcaption>{number}. {_safe(hit.path)}<br><small>{scores}</small>{copies}</figcaption></figure>"
    )


def _safe(text: str) -> str:
    return escape(text.encode("utf-8", "replace").decode())
