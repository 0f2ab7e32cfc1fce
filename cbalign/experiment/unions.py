"""Unions of the spec language, put together from the parts that are installed."""

from __future__ import annotations

import logging
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any

from pydantic import Field

from cbalign.experiment.fields import settings
from cbalign.parts.part import Part
from cbalign.parts.registry import BrokenPart, Kind, registry

_log = logging.getLogger("cbalign.parts")


def union(kind: Kind) -> Any:
    """The type of a setting whose value is one part of a kind, told apart by the kind's key."""
    members = tuple(usable(kind).values())
    return Annotated[reduce(or_, members), Field(discriminator=kind.key)] if len(members) > 1 else members[0]


@cache
def usable(kind: Kind) -> dict[str, type[Part]]:
    """The sections of a kind by name, without those of plug-ins whose settings the language cannot express."""
    return {
        name: part.section
        for name, part in registry().of(kind).items()
        if part.origin.is_own or _inexpressible(part.section) is None
    }


@cache
def unusable() -> tuple[BrokenPart, ...]:
    """All parts of installed distributions that are not used, each with its reason."""
    inexpressible = [
        BrokenPart(part.kind.name, part.name, part.origin, reason)
        for part in registry().parts
        if not part.origin.is_own and (reason := _inexpressible(part.section)) is not None
    ]
    return (*registry().broken, *inexpressible)


@cache
def report_unusable_parts() -> None:
    """Log a warning for each part of an installed distribution that is not used; once in a process."""
    for part in unusable():
        _log.warning("%s", part)


def unusable_part(kind: Kind, name: str) -> BrokenPart | None:
    """The part of this kind and name that an installed distribution provides and that is not used, if there is one."""
    return next((part for part in unusable() if part.group == kind.name and part.name == name), None)


def _inexpressible(section: type[Part]) -> str | None:
    """Why a section cannot be part of the language, if it cannot."""
    try:
        for name, setting in settings(section).items():
            if not setting.help:
                return f"its setting `{name}` has no help"
            if setting.effect is None and not setting.has_sections:
                return f"its setting `{name}` has no effect class"
    except TypeError as error:
        return str(error)
    return None
