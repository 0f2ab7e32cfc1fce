"""Look up precisions by name, and report which distribution is missing if one is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

from cbalign.errors import BundleError
from cbalign.parts import PrecisionSection
from cbalign.parts.registry import PRECISIONS, broken_part, registry

REFERENCE = "fp32"
"""The precision that PyTorch exports; all others are converted from it and compared with it."""


def find_precision(name: str) -> PrecisionSection | None:
    """Return the installed precision of this name, or None."""
    part = registry().of(PRECISIONS).get(name)
    if part is None:
        return None
    section = part.section()
    assert isinstance(section, PrecisionSection), "the registry checks it"
    return section


def precision_section(name: str, plugins: Mapping[str, str] | None = None) -> PrecisionSection:
    """Return the installed precision of this name.

    Args:
        name: name, as in `export.precisions`.
        plugins: versions of the distributions that a bundle was exported with.

    Raises:
        BundleError: no installed distribution provides it.
    """
    found = find_precision(name)
    if found is not None:
        return found
    if (broken := broken_part(PRECISIONS, name)) is not None:
        raise BundleError(f"the precision {name} cannot be used: {broken}")
    missing = [f"{plugin}=={version}" for plugin, version in (plugins or {}).items() if not _is_installed(plugin)]
    if missing:
        raise BundleError(
            f"the precision {name} is not installed; the bundle was made with {' and '.join(missing)}",
            remedy=f"pip install {' '.join(missing)}",
        )
    raise BundleError(f"unknown precision {name!r}", remedy=f"Known are {_listed()}.")


def _listed() -> str:
    return ", ".join(registry().of(PRECISIONS))


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
