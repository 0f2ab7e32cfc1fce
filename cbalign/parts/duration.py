"""Durations in steps, epochs or per cent of the training: `2000 steps`, `0.5 epochs`, `5 %`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

PATTERN = r"^\s*([0-9]{1,15}(?:\.[0-9]{1,30})?)\s*(steps?|epochs?|%)\s*$"

Duration = Annotated[str, Field(pattern=PATTERN, examples=["2000 steps", "1 epoch", "5 %"])]


def amount_and_unit(duration: str) -> tuple[float, str]:
    """Parse a duration: `"2000 steps"` gives `(2000.0, "steps")`; the unit is `steps`, `epochs` or `%`.

    Raises:
        ValueError: the text is not a duration.
    """
    match = re.match(PATTERN, duration)
    if match is None:
        raise ValueError(f"{duration!r} is not a duration: write '2000 steps', '1 epoch' or '5 %'")
    unit = match[2]
    return float(match[1]), unit if unit == "%" else f"{unit.rstrip('s')}s"


def in_steps(duration: str, steps_per_epoch: int, total_steps: int | None = None) -> int:
    """Convert a duration to a whole number of optimiser steps.

    Args:
        duration: a string of the `Duration` form.
        steps_per_epoch: optimiser steps in one pass over the training data.
        total_steps: length of the training, needed for per cent.

    Raises:
        ValueError: the text is not a duration, or is in per cent without a total.
    """
    amount, unit = amount_and_unit(duration)
    if unit == "steps":
        return round(amount)
    if unit == "epochs":
        return round(amount * steps_per_epoch)
    if total_steps is None:
        raise ValueError(f"{duration!r} is relative to the length of the training, which is unknown here")
    return round(amount / 100 * total_steps)
