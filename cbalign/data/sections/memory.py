"""Data passed from Python."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, SourceSection, setting


class MemorySource(SourceSection):
    """Pairs passed to `cbalign.train` by a Python program; they are not stored, so only that program can read them."""

    builds = "cbalign.data.memory:open_given"
    from_python = True

    source: Literal["memory"] = setting(effect=Effect.DATA, help="Kind of source.")
    key: str = setting(effect=Effect.DATA, help="Name of the pairs in the program.")
    fingerprint: str = setting("", effect=Effect.DATA, help="Fingerprint of the captions, set by `cbalign.train`.")

    def data_sets(self) -> tuple[str, ...]:
        """Return the name from the program."""
        return (self.key,)
