"""How many entries of a source may have an image that cannot be read."""

from __future__ import annotations

from collections.abc import Collection, Sized
from itertools import islice
from typing import Protocol

from cbalign.errors import DataError

_EXAMPLES = 3


class Entries(Sized, Protocol):
    """A source of anything that has images."""

    @property
    def name(self) -> str:
        """What messages call it."""


def check_unreadable(source: Entries, entries: int, reasons: Collection[str], corrupt_limit: float) -> None:
    """Compare what was found unreadable so far with the limit.

    Args:
        source: all entries.
        entries: of how many an image was found missing or corrupt.
        reasons: why, for each image.
        corrupt_limit: share of the entries that may be.

    Raises:
        DataError: too many; the message gives the count and the first few.
    """
    allowed = int(corrupt_limit * len(source))
    if entries <= allowed:
        return
    examples = "".join(f"\n  {reason}" for reason in islice(reasons, _EXAMPLES))
    raise DataError(
        f"{source.name}: the images of {entries:,} entries met so far are missing or corrupt, of {len(source):,} "
        f"entries {allowed:,} are allowed (data.corrupt_limit: {corrupt_limit:g}); the first:{examples}",
        remedy="Repair the images, leave them out, or raise data.corrupt_limit; `cbalign data check` finds all.",
    )
