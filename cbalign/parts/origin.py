"""The distribution that each part comes from."""

from __future__ import annotations

from dataclasses import dataclass

OWN = "cbalign"

_origins: dict[type, PartOrigin] = {}


@dataclass(frozen=True)
class PartOrigin:
    """The distribution that a part comes from."""

    distribution: str
    version: str

    @property
    def is_own(self) -> bool:
        """Whether it is cbalign itself."""
        return self.distribution == OWN

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


def record_origin(section: type, origin: PartOrigin) -> None:
    """Record where a part comes from; the registry does it for every part that it finds."""
    _origins[section] = origin


def origin_of(section: type) -> PartOrigin | None:
    """The distribution that a part comes from; None if no distribution registered it."""
    return _origins.get(section)


def packages() -> dict[str, PartOrigin]:
    """Return the top-level packages that contain parts of other distributions, each with its distribution."""
    others = ((section, origin) for section, origin in _origins.items() if not origin.is_own)
    return {section.__module__.partition(".")[0]: origin for section, origin in others}


def origin_of_module(module: str) -> PartOrigin | None:
    """Return the other distribution that a module belongs to; None if it has no parts."""
    return packages().get(module.partition(".")[0])
