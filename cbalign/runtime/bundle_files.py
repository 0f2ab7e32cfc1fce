"""Read files of folders that others made: regular files inside the folder, and no more bytes than expected."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cbalign.errors import BundleError

_BLOCK = 1 << 20
_COPY_AGAIN = "Copy the bundle again, with its files in place of links."


@contextmanager
def open_inside(folder: Path, name: str) -> Iterator[BinaryIO]:
    """Open a file of a folder.

    Args:
        folder: the folder, which may itself be a link.
        name: path in the folder, with `/`.

    Raises:
        BundleError: it is no regular file, or links lead outside of the folder.
        OSError: it is missing or cannot be read.
    """
    path = folder / name
    real, root = os.path.realpath(path), os.path.realpath(folder)
    if not real.startswith(f"{root.rstrip(os.sep)}{os.sep}"):
        raise BundleError(f"{path} leads outside of the bundle", remedy=_COPY_AGAIN)
    # Opening a pipe would wait for a writer without O_NONBLOCK, which regular files ignore.
    descriptor = os.open(real, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleError(f"{path} is not a regular file", remedy=_COPY_AGAIN)
        yield file


def read_inside(folder: Path, name: str, limit: int) -> bytes:
    """Read a file of a folder whole.

    Raises:
        BundleError: as `open_inside`, or it has more than `limit` bytes.
        OSError: it is missing or cannot be read.
    """
    with open_inside(folder, name) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise BundleError(f"{folder / name} has more than {limit >> 20} MiB", remedy=_COPY_AGAIN)
    return content


def bounded(text: str, limit: int = 300) -> str:
    """Return the beginning of a text of unknown length, for a message."""
    return text if len(text) <= limit else f"{text[:limit]}…"


def hash_file(file: BinaryIO, limit: int | None = None) -> tuple[str, int]:
    """Return the SHA-256, in hex, and the number of bytes of an open file, read up to one byte more than `limit`."""
    digest, size = hashlib.sha256(), 0
    while block := file.read(_BLOCK if limit is None else min(_BLOCK, limit + 1 - size)):
        digest.update(block)
        size += len(block)
        if limit is not None and size > limit:
            break
    return digest.hexdigest(), size
