"""`cbalign search`: find the images in a folder that match a text or an example image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbalign.cli import completions, console
from cbalign.cli.options import json_option
from cbalign.errors import UsageError
from cbalign.runtime.table import Table

if TYPE_CHECKING:
    from cbalign.apps.search.find import SearchHit, TimedSearch
    from cbalign.apps.search.index import Changes, SearchIndex
    from cbalign.runtime.session import Session

_SHOWN_PROBLEMS = 5


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path), shell_complete=completions.results)
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option(
    "--image", type=click.Path(path_type=Path, dir_okay=False), help="Search by an example image instead of a text."
)
@click.option("--top", default=12, show_default=True, type=click.IntRange(1, 1000), help="Number of images to show.")
@click.option(
    "--rerank", type=click.IntRange(min=0), metavar="K",
    help="Number of nearest images to rerank with the matcher; 0 disables it.  [default: 16, if the bundle has one]",
)  # fmt: skip
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a contact sheet to a file.")
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), help="Folder of the indexes.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", help="Precision of the bundle.  [default: the first that it lists]")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads within one graph.")
@json_option
def search(
    bundle: Path,
    folder: Path,
    text: str | None,
    image: Path | None,
    top: int,
    rerank: int | None,
    html: Path | None,
    cache: Path | None,
    device: str,
    precision: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Find the images in FOLDER that match TEXT, or that look like the example of --image.

    The first search of a folder encodes all its images; later ones encode only new images. Vectors are stored by
    content, so moved and copied files are not encoded again. Links and names that begin with a dot are skipped.
    """
    from cbalign.apps.search.find import search_index
    from cbalign.runtime.images import decode_untrusted
    from cbalign.runtime.session import Session
    from cbalign.runtime.texts import check_text

    if (text is None) == (image is None):
        raise UsageError("search needs one query", remedy='Give a text, such as "a red car", or --image FILE.')
    if image is not None and rerank:
        raise UsageError("--rerank needs a text query: the matcher compares images with texts")
    query = text if image is None else decode_untrusted(image)
    assert query is not None
    session = Session.open(bundle, device, precision, threads=threads)
    session.bundle.require_alignment()
    count = _rerank_count(session, text, rerank)
    if text is not None and (cut := check_text(text, session.tokenizer)):
        console.note(cut)
    index = load_index(session, folder, cache)
    found = search_index(session, index, query, top=top, rerank_count=count)

    describe_changes(index.changes)
    if html is not None:
        title = f"“{text}”" if text is not None else f"like {image}"
        _write_sheet(html, title, f"{len(index.contents.paths):,} images in {index.folder}", index.folder, found.hits)
    if as_json:
        asked = {"text": text} if text is not None else {"image": str(image)}
        console.document(_document(bundle, asked, index, count, found))
        return
    console.blocks(_table(found.hits))


def _document(
    bundle: Path, query: dict[str, str], index: SearchIndex, reranked: int, found: TimedSearch
) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "bundle": str(bundle),
        "folder": str(index.folder),
        "query": query,
        "index": _index_data(index.cache, len(index.contents.paths), index.changes),
        "reranked": reranked,
        "hits": [asdict(hit) for hit in found.hits],
        "milliseconds": {name: round(1000 * value, 2) for name, value in found.seconds.items()},
    }


def _rerank_count(session: Session, text: str | None, asked: int | None) -> int:
    if asked is None:
        return 16 if text is not None and session.has_matcher else 0
    if asked and not session.has_matcher:
        raise UsageError(f"{session.bundle.folder} has no match graph", remedy="Omit --rerank.")
    return asked


def describe_changes(changes: Changes) -> None:
    """Report on stderr what an update of the index read and what it skipped."""
    if changes.read or changes.removed:
        gone = f", {changes.removed:,} removed" if changes.removed else ""
        console.note(f"{changes.files:,} images: {changes.read:,} read, {changes.encoded:,} encoded{gone}")
    if changes.links:
        console.note(f"skipped links: {changes.links:,}")
    if changes.problems:
        console.note(f"unusable files: {len(changes.problems):,}")
        for path, problem in list(changes.problems.items())[:_SHOWN_PROBLEMS]:
            console.note(f"  {path or '.'}: {problem}")
        if len(changes.problems) > _SHOWN_PROBLEMS:
            console.note("  … (--json lists all)")


def _index_data(cache: Path, pictures: int, changes: Changes) -> dict[str, object]:
    return {
        "cache": str(cache),
        "pictures": pictures,
        "files": changes.files,
        "read": changes.read,
        "encoded": changes.encoded,
        "removed": changes.removed,
        "links": changes.links,
        "problems": [{"path": path, "problem": problem} for path, problem in changes.problems.items()],
    }


def _table(hits: list[SearchHit]) -> Table:
    rows = [
        (
            str(number),
            f"{hit.score:.3f}",
            "" if hit.match is None else f"{hit.match:.2f}",
            hit.path + (f" (and {len(hit.copies)} copies)" if hit.copies else ""),
        )
        for number, hit in enumerate(hits, 1)
    ]
    return Table.of(("", "cosine", "match", "image"), rows, right=(0, 1, 2))


def _write_sheet(html: Path, query: str, about: str, folder: Path, hits: list[SearchHit]) -> None:
    from cbalign.apps.search.sheet import contact_sheet
    from cbalign.engine.files import write_durably

    write_durably(html, contact_sheet(query, about, folder, hits).encode())
    console.note(f"contact sheet: {html}")


def load_index(session: Session, folder: Path, cache: Path | None) -> SearchIndex:
    """Open the index of a folder and bring it up to date, with a progress bar."""
    from cbalign.apps.search.index import open_index

    with console.progress() as report:
        return open_index(session, folder, cache, lambda done, total: report("reading images", done, total))
