"""Rules about the sizes of towers."""

from __future__ import annotations

from cbalign.parts import RuleError


def check_heads(width: int | None, heads: int | None) -> None:
    """Check that the heads divide the width.

    Raises:
        RuleError: they do not.
    """
    if width and heads and width % heads:
        nearest = nearest_multiple(width, heads)
        raise RuleError(
            f"width {width} is not a multiple of heads {heads}; nearest width {nearest}", at=("heads", "width")
        )


def nearest_multiple(value: int, unit: int) -> int:
    """Return the positive multiple of `unit` that is nearest to `value`."""
    return max(1, round(value / unit)) * unit
