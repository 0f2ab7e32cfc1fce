"""Quantities as people read them."""

from __future__ import annotations


def in_bytes(count: int) -> str:
    """`1.35 GiB`, `461.84 MiB`, `12 KiB`."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count / 2**10:.0f} KiB"


def ago(seconds: float) -> str:
    """`40 s`, `12 min`, `5 h`, `3 days`: how long something is ago, in one unit."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= (2 * size if unit == "days" else size):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def number(value: float | None) -> str:
    """A measured number with four digits; a dash where there is none."""
    return "–" if value is None else f"{value:.4g}"
