"""Shard patterns: `{00000..00099}` in a name expands to each number of the range."""

from __future__ import annotations

import re

MAX_SHARDS = 100_000
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def expand_shards(pattern: str) -> list[str]:
    """Expand a pattern with number ranges; leading zeros are preserved.

    Raises:
        ValueError: a range is descending, or there are more than `MAX_SHARDS` names.
    """
    count = 1
    for found in _RANGE.finditer(pattern):
        first, last = map(int, found.groups())
        if last < first:
            raise ValueError(f"{pattern}: the range {found.group()} is descending")
        count *= last - first + 1
    if count > MAX_SHARDS:
        raise ValueError(f"{pattern}: {count:,} shards, more than {MAX_SHARDS:,}")
    return _names(pattern)


def _names(pattern: str) -> list[str]:
    found = _RANGE.search(pattern)
    if found is None:
        return [pattern]
    first, last = found.groups()
    numbers = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    return [name for number in numbers for name in _names(pattern[: found.start()] + number + pattern[found.end() :])]
