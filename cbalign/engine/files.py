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
_DIRECTORY = getattr(os, "O_DIRECTORY", 0x10000)

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

    Of several processes that write it at the same time, each waits for the one before.

    Raises:
        StorageError: it cannot be written; `path` is as it was.
    """
    temporary = path.with_name(f"{UNFINISHED}{path.name}")
    with storage_errors(path), _own(temporary, os.O_RDWR | os.O_CREAT, wait=True) as descriptor:
        try:
            with open(temporary if descriptor is None else descriptor, "wb", closefd=descriptor is None) as file:
                file.truncate(0)
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
    `path`, which must not exist; when it raises, nothing remains. What a killed process left is removed.

    Raises:
        StorageError: it cannot be written, or another process is writing it.
    """
    temporary = path.with_name(f"{UNFINISHED}{path.name}")
    with storage_errors(path):
        temporary.parent.mkdir(parents=True, exist_ok=True)
        with _own(temporary, os.O_RDONLY | _DIRECTORY, wait=False):
            yield from _filled(path, temporary)


def _filled(path: Path, temporary: Path) -> Iterator[Path]:
    """Empty a temporary folder, let the caller fill it, and rename it to `path`."""
    try:
        _empty(temporary)
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        sync_folder(temporary)
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)


@contextmanager
def _own(temporary: Path, flags: int, *, wait: bool) -> Iterator[int | None]:
    """Create or open a temporary file or folder and lock it against other processes; a killed one's lock is free.

    Yields its descriptor; None on Windows, where neither is possible.

    Raises:
        StorageError: another process has it, and `wait` is false.
    """
    while (descriptor := _opened(temporary, flags)) is not None:
        try:
            if not _locked(descriptor, wait=wait):
                raise StorageError(
                    f"Another process is writing {temporary.with_name(temporary.name.removeprefix(UNFINISHED))}.",
                    remedy="Wait for it, or choose another location.",
                )
            if _is_open(temporary, descriptor):  # not renamed or removed by the process that had the lock
                yield descriptor
                return
        finally:
            os.close(descriptor)
    yield None


def _opened(temporary: Path, flags: int) -> int | None:
    while True:
        if flags & _DIRECTORY:
            temporary.mkdir(exist_ok=True)
        if os.name != "posix":
            return None
        try:
            return os.open(temporary, flags, 0o666)
        except FileNotFoundError:
            if not temporary.parent.exists():
                raise


def _locked(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file, if the system can; False if another process has the lock."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _is_open(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


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
