"""The callback by which long work reports its progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

ProgressCallback: TypeAlias = Callable[[str, int, int], None]
"""Called as `report(stage, done, total)`: `done` of `total` units of the stage, such as `images`, are finished."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Ignore the progress; the default of a `report` argument."""
