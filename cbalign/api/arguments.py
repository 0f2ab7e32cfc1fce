"""Checks of arguments that the functions of this API share."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import TypeVar

from cbalign.errors import UsageError

T = TypeVar("T")


def whole(name: str, value: object, least: int) -> int:
    """Return a whole number of at least `least`.

    Raises:
        UsageError: it is not one.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UsageError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def listed(given: str | Iterable[T]) -> tuple[str | T, ...]:
    """Return a list as a tuple; a text means a list of this one text."""
    return (given,) if isinstance(given, str) else tuple(given)
