"""Data given from Python."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, SourceSection, setting


class MemorySource(SourceSection):
    """Pairs that a Python program gives to `cbalign.train`; they are not stored, so that only it can open them."""

    builds = "cbalign.data.memory:open_given"

    source: Literal["memory"] = setting(effect=Effect.DATA, help="Which kind of source this is.")
    key: str = setting(effect=Effect.DATA, help="Name under which the program gives the pairs.")
    fingerprint: str = setting("", effect=Effect.DATA, help="Fingerprint of the captions, set by `cbalign.train`.")

    def data_sets(self) -> tuple[str, ...]:
        """The name that the program gave."""
        return (self.key,)
