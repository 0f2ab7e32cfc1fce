"""Sources that exist in this process only, given from Python under a name."""

from __future__ import annotations

from cbalign.data.items import Pair
from cbalign.data.sections.memory import MemorySource
from cbalign.data.source import Source
from cbalign.errors import DataError
from cbalign.parts import ItemKind

ARGUMENTS = {"train": "data"}
"""The arguments of `cbalign.train` and `cbalign.resume` that are not named like their split."""

_given: dict[tuple[str, str], Source[Pair]] = {}  # by key and fingerprint: several trainings may use one key


def give(key: str, source: Source[Pair], fingerprint: str) -> None:
    """Let `{source: memory, key: …, fingerprint: …}` mean this source in this process."""
    _given[key, fingerprint] = source


def open_given(section: MemorySource, items: ItemKind) -> Source[Pair]:
    """Open what was given under the section's key.

    Raises:
        DataError: nothing was, in this process; or other data; or the task does not train on pairs.
    """
    if items != "pairs":
        raise DataError(f"the data {section.key!r} are pairs from Python, and the task needs {items}")
    source = _given.get((section.key, section.fingerprint))
    if source is None:
        raise DataError(
            f"the data {section.key!r} were given from Python, to the process that trained, and are not stored",
            remedy=f"Give them again: cbalign.resume(run, {ARGUMENTS.get(section.key, section.key)}=pairs), or "
            "cbalign.evaluate(run, data=pairs, on=split).",
        )
    return source
