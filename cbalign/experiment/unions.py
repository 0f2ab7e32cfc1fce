"""Unions of the spec language, built from the installed parts."""

from __future__ import annotations

import logging
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any

from pydantic import Field

from cbalign.experiment.fields import every
from cbalign.parts.part import Part
from cbalign.parts.registry import BrokenPart, InstalledPart, PartKind, registry

_log = logging.getLogger("cbalign.parts")


def union(kind: PartKind) -> Any:
    """Return the type of a setting whose value is one part of a kind, discriminated by the kind's key."""
    members = tuple(usable(kind).values())
    return Annotated[reduce(or_, members), Field(discriminator=kind.key)] if len(members) > 1 else members[0]


@cache
def usable(kind: PartKind) -> dict[str, type[Part]]:
    """Return the sections of a kind by name, except plug-in sections that the spec language cannot express."""
    return {
        name: part.section
        for name, part in registry().of(kind).items()
        if part.origin.is_own or _inexpressible(part.section) is None
    }


@cache
def unusable() -> tuple[BrokenPart, ...]:
    """Return all unusable parts of installed distributions, each with the reason."""
    inexpressible = [
        BrokenPart(part.kind.name, part.name, part.origin, reason)
        for part in registry().parts
        if not part.origin.is_own and (reason := _inexpressible(part.section)) is not None
    ]
    return (*registry().broken, *inexpressible)


def slow_parts() -> tuple[InstalledPart, ...]:
    """Return the parts whose sections import torch, which every command then has to wait for."""
    return tuple(part for part in registry().parts if part.imports_torch)


def slowness(part: InstalledPart) -> str:
    """Return the problem of a part whose section imports torch."""
    return f"{part.section.__module__} imports torch, which every command then has to wait for"


@cache
def report_unusable_parts() -> None:
    """Log a warning for each unusable part of an installed distribution, once per process."""
    for part in unusable():
        _log.warning("%s", part)


def unusable_part(kind: PartKind, name: str) -> BrokenPart | None:
    """Return the unusable part of this kind and name, if an installed distribution provides one."""
    return next((part for part in unusable() if part.group == kind.name and part.name == name), None)


def _inexpressible(section: type[Part]) -> str | None:
    """Return why a section cannot be part of the spec language; None if it can."""
    try:
        for found in every(section):
            path = found.path.replace(".[]", "")
            if not found.setting.help:
                return f"its setting `{path}` has no help text"
            if found.effect is None and not found.setting.has_sections:
                return f"its setting `{path}` has no effect class"
    except TypeError as error:
        return str(error)
    return None
