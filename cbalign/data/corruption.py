"""The rule for items whose images cannot be read: skipped, counted, logged, and an error above a limit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from cbalign.errors import DataError

_EXAMPLES = 3
_log = logging.getLogger(__name__)


class NamedItems(Sized, Protocol):
    """A source, or anything else that has a name and a number of items."""

    @property
    def name(self) -> str:
        """The name of the source in messages."""


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be read, and the number of items that it makes unusable."""

    reason: str
    items: int = 1


def allowed_items(corrupt_limit: float, total: int) -> int:
    """Return how many of `total` items may have an unreadable image."""
    return int(corrupt_limit * total)


class UnreadableItems:
    """The unreadable images of a source so far; the same rule for training, evaluation and packing.

    The limit is a share of the items of the source: an image that several items show counts once for each of them. No
    limit permits that all items are unreadable.

    `found` are the images by index, `count` is the number of items that they make unusable.

    Args:
        source: all items.
        corrupt_limit: share of the items that may have an unreadable image (`data.corrupt_limit`).
    """

    def __init__(self, source: NamedItems, corrupt_limit: float) -> None:
        self._name = source.name
        self._total = len(source)
        self._corrupt_limit = corrupt_limit
        self.found: dict[int, Unreadable] = {}
        self.count = 0

    def add(self, index: int, reason: str, *, items: int = 1) -> bool:
        """Count an unreadable image; return whether it was not known before.

        Args:
            index: of the image or item.
            reason: the message of the error.
            items: number of items that show the image.

        Raises:
            DataError: the limit is exceeded; the message gives the count and the first reasons.
        """
        if index in self.found:
            return False
        self.found[index] = Unreadable(reason, items)
        self.count += items
        self._check()
        return True

    def merge(self, other: Mapping[int, Unreadable]) -> None:
        """Add what another process found.

        Raises:
            DataError: the limit is exceeded.
        """
        for index, found in other.items():
            self.add(index, found.reason, items=found.items)

    def log(self) -> None:
        """Log one line if any items were skipped."""
        if self.found:
            _log.warning(
                "%s: skipped %s of %s items with missing or corrupt images, first: %s",
                self._name,
                f"{self.count:,}",
                f"{self._total:,}",
                next(iter(self.found.values())).reason,
            )

    def _check(self) -> None:
        allowed = allowed_items(self._corrupt_limit, self._total)
        if self.count >= self._total:
            first = next(iter(self.found.values())).reason
            raise DataError(
                f"{self._name}: no image can be read; the first: {first}",
                remedy="Check that the images exist, and the `root` of a source of files.",
            )
        if self.count <= allowed:
            return
        examples = "".join(f"\n  {each.reason}" for each in islice(self.found.values(), _EXAMPLES))
        raise DataError(
            f"{self._name}: at least {self.count:,} of {self._total:,} items have missing or corrupt images, "
            f"{allowed:,} are allowed (data.corrupt_limit: {self._corrupt_limit:g}); the first:{examples}",
            remedy="Repair the images, remove them from the list, or raise data.corrupt_limit; "
            "for files, `cbalign data check` finds all of them.",
        )
