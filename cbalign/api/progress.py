"""The argument `progress` of functions: True, False, or a function to call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from cbalign.data.progress import ProgressCallback


def stages(progress: bool | Callable[[str], None]) -> Callable[[str], None]:
    """A function of the name of a stage."""
    if progress is True:
        return _print
    return progress or (lambda stage: None)


def units(progress: bool | ProgressCallback) -> ProgressCallback:
    """A function of the stage and the numbers of units done and in total."""
    if progress is True:
        return lambda stage, done, total: _count(stage, done, total)
    return progress or (lambda stage, done, total: None)


def files(progress: bool | Callable[[int, int], Any]) -> Callable[[int, int], Any]:
    """A function of the numbers of files done and in total."""
    if progress is True:
        return lambda done, total: _count("files", done, total)
    return progress or (lambda done, total: None)


def _print(text: str) -> None:
    print(text, file=sys.stderr)


def _count(stage: str, done: int, total: int) -> None:
    """Write a line that the next one overwrites, as terminals and notebooks do."""
    print(f"\r{stage} {done:,} of {total:,}", end="\n" if done >= total else "", file=sys.stderr, flush=True)
