"""How many pairs of a source may have an image that cannot be read."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from cbalign.data.source import PairSource
from cbalign.errors import DataError

_EXAMPLES = 3


def check_unreadable(source: PairSource, pairs: int, reasons: Collection[str], corrupt_limit: float) -> None:
    """Compare what was found unreadable so far with the limit.

    Args:
        source: all pairs.
        pairs: of how many the image was found missing or corrupt.
        reasons: why, for each image.
        corrupt_limit: share of the pairs that may be.

    Raises:
        DataError: too many; the message gives the count and the first few.
    """
    allowed = int(corrupt_limit * len(source))
    if pairs <= allowed:
        return
    examples = "".join(f"\n  {reason}" for reason in islice(reasons, _EXAMPLES))
    raise DataError(
        f"{source.name}: the images of {pairs:,} pairs met so far are missing or corrupt, of {len(source):,} pairs "
        f"{allowed:,} are allowed (data.corrupt_limit: {corrupt_limit:g}); the first:{examples}",
        remedy="Repair the images, leave them out, or raise data.corrupt_limit; `cbalign data check` finds all.",
    )
