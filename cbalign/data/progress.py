"""What long work tells of how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Report: TypeAlias = Callable[[str, int, int], None]
"""Told of progress: what is done, how many of it are, how many there are in all."""
