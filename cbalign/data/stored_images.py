"""The bytes of stored images, by which another picture in a file is noticed."""

from __future__ import annotations

import hashlib
from typing import Protocol, runtime_checkable

from cbalign.errors import DataError

_PICTURES = 256  # items whose images are hashed


@runtime_checkable
class StoredImages(Protocol):
    """A source whose images are stored as they are, so that their bytes are the same on every machine."""

    def __len__(self) -> int: ...

    def stored(self, index: int) -> tuple[bytes, ...]:
        """Read the image files of item `index`."""


def pictures_fingerprint(source: StoredImages) -> str:
    """Hash the image files of at most `_PICTURES` items, evenly spaced; one that cannot be read counts as empty."""
    digest = hashlib.sha256()
    for index in range(0, len(source), max(1, -(-len(source) // _PICTURES))):
        try:
            contents = source.stored(index)
        except DataError:
            contents = ()
        for content in contents:
            digest.update(hashlib.sha256(content).digest())
        digest.update(b"\n")
    return digest.hexdigest()[:16]
