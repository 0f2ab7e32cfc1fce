"""SHA-256 of the files of a checkpoint, in the format of `sha256sum`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from cbalign.errors import DamagedCheckpointError

CHECKSUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\0]+)")
_OLDER = "Resume the run, which falls back to the checkpoint before; or remove this one."


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of all files in a folder, which `sha256sum -c SHA256SUMS` compares as well.

    Raises:
        OSError: a file cannot be read or written.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    lines = [f"{_sha256(path)}  {path.name}\n" for path in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def verify_checksums(folder: Path, names: Iterable[str]) -> None:
    """Compare files with their SHA-256; checkpoints of earlier versions have none.

    Args:
        folder: the checkpoint.
        names: files to compare.

    Raises:
        DamagedCheckpointError: a file is missing, cannot be read or differs, or the list is damaged.
    """
    path = folder / CHECKSUMS
    try:
        if not path.exists():
            return
        text = path.read_bytes().decode("ascii", "replace")
        listed = {match[2]: match[1] for line in text.splitlines() if (match := _LINE.fullmatch(line))}
        for name in names:
            if name not in listed:
                raise DamagedCheckpointError(f"{path} does not list {name}: it is damaged.", remedy=_OLDER)
            if _sha256(folder / name) != listed[name]:
                raise DamagedCheckpointError(
                    f"{folder / name} is damaged or was changed: its SHA-256 is not that of {CHECKSUMS}.",
                    remedy=_OLDER,
                )
    except OSError as error:
        place = error.filename or folder
        raise DamagedCheckpointError(f"Cannot read {place}: {error.strerror or error}.", remedy=_OLDER) from error


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
