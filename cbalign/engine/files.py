"""Atomic writing of files and folders."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cbalign.errors import StorageError

UNFINISHED = ".unfinished-"

_REMEDIES = {
    errno.ENOSPC: "Free space or choose another location; no partial files were left.",
    errno.EDQUOT: "Your quota is used up: free space or choose another place.",
    errno.EFBIG: "A file-size limit (ulimit -f or of the file system) was exceeded.",
    errno.EROFS: "The file system is read-only: choose another place.",
    errno.EACCES: "Check the permissions of the folder, or choose another place.",
    errno.EPERM: "Check the permissions of the folder, or choose another place.",
}


def shown_path(path: Path) -> Path:
    """The shorter of the path and its form relative to the working directory."""
    return min((path, Path(os.path.relpath(path))), key=lambda p: len(str(p)))


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors about `path` into `StorageError` with a remedy."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"Cannot write {path}: {reason}.", remedy=_REMEDIES.get(error.errno or 0)) from error


def write_durably(path: Path, content: bytes) -> None:
    """Write a file whole: under a temporary name, synced, then renamed over `path`.

    Raises:
        StorageError: it cannot be written; `path` is as it was.
    """
    temporary = path.with_name(f"{UNFINISHED}{path.name}")
    with storage_errors(path):
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Create a folder that appears under its name only when it is complete.

    The body fills the temporary folder that it is given. When it ends, every file is synced and the folder renamed to
    `path`, which must not exist; when it raises, nothing remains.

    Raises:
        StorageError: it cannot be written.
    """
    temporary = path.with_name(f"{UNFINISHED}{path.name}")
    with storage_errors(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for file in temporary.rglob("*"):
                _sync(file)
            sync_folder(temporary)
            os.rename(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(path.parent)


def replace_folder(target: Path, fresh: Path) -> None:
    """Rename `fresh` to `target`; an existing folder is removed after the rename, not before.

    Raises:
        StorageError: it cannot be renamed.
    """
    old = target.with_name(f".old-{target.name}")
    with storage_errors(target):
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            os.rename(target, old)
        os.rename(fresh, target)
        shutil.rmtree(old, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove temporary files of interrupted writes from `folder`."""
    for path in folder.glob(f"{UNFINISHED}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut, where the system can."""
    if os.name == "posix":
        _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
