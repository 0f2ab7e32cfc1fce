"""Find the images in a folder by file name, without opening them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cbalign.errors import DataError
from cbalign.runtime.images import FORMATS

_ENDINGS = tuple(ending for endings in FORMATS.values() for ending in endings)


@dataclass(frozen=True)
class Stamp:
    """Identifies a version of a file: size in bytes, and modification and change times in ns."""

    size: int
    modified: int
    changed: int


@dataclass
class Scan:
    """The images below a folder by relative path, sorted, and skipped entries."""

    folder: Path
    images: dict[str, Stamp] = field(default_factory=dict)
    links: int = 0  # not followed: they point outside the folder, or to its own files
    closed: list[str] = field(default_factory=list)  # unreadable folders


def scan(folder: Path) -> Scan:
    """Scan a folder recursively; names that begin with a dot are skipped.

    Raises:
        DataError: the path is not a folder, cannot be read, or has no images.
    """
    if not folder.exists():
        raise DataError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file, not a folder of images")
    found = Scan(folder.resolve())
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from error
    images = dict(_walk(found, ""))
    found.images.update((path, images[path]) for path in sorted(images))
    if not found.images:
        links = f" ({found.links:,} links are not followed)" if found.links else ""
        raise DataError(f"{folder} has no images{links}", remedy=f"Supported extensions are {', '.join(_ENDINGS)}.")
    return found


def _walk(found: Scan, below: str) -> Iterator[tuple[str, Stamp]]:
    try:
        entries = list(os.scandir(found.folder / below))
    except OSError:
        found.closed.append(below)
        return
    for entry in entries:
        path = f"{below}{entry.name}"
        if entry.name.startswith("."):
            continue
        if entry.is_symlink():
            found.links += entry.is_dir() or entry.name.lower().endswith(_ENDINGS)
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(found, f"{path}/")
        elif entry.is_file(follow_symlinks=False) and entry.name.lower().endswith(_ENDINGS):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # removed meanwhile
                continue
            yield path, Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)
