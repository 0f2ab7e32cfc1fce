"""Tensors of checkpoints that older versions wrote under other names. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

RENAMED = (
    # Until objectives owned their modules.
    ("codebook.", "objectives.codebook.codebook."),
    ("match_head.", "objectives.matching.head."),
    ("student.masked_language_head.", "objectives.masked_language.head.student."),
    ("teacher.network.masked_language_head.", "objectives.masked_language.head.teacher.network."),
)
"""Old prefix and new prefix of tensor names."""


def current_name(name: str) -> str:
    """Return the current name of a tensor or parameter."""
    for old, new in RENAMED:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def with_current_names(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return the same tensors, or what belongs to them, under their current names."""
    return {current_name(name): value for name, value in tensors.items()}
