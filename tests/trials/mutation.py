"""Trials that change files at random: a case is a set of files and a few edits, reduced when it fails."""

from __future__ import annotations

import random
from abc import abstractmethod
from dataclasses import dataclass

from tests.trials.edits import Edit, applied, draw, kinds_for
from tests.trials.trial import CaseFailed, Trial, Wrong, chance_of, limits, signature, why

_MOST = 4  # edits of a case
_TRIES = 60  # to reduce a failure


@dataclass(frozen=True)
class Base:
    """Correct files, of which a case changes some.

    Args:
        name: what they are.
        files: those that may change, by path.
        often: the file that three of four edits change; empty for none.
    """

    name: str
    files: dict[str, bytes]
    often: str = ""


class Mutation(Trial):
    """Trials of changed files. Subclasses list correct ones and say what must hold for changed ones."""

    @abstractmethod
    def bases(self) -> list[Base]:
        """Return the correct files."""

    @abstractmethod
    def judge(self, base: Base, files: dict[str, bytes], number: int) -> str:
        """Use changed files as a user would and return the outcome.

        Raises:
            Wrong: a wrong result. Any other exception is a failure, too.
        """

    def run(self, number: int, seed: int) -> str:
        """Run one case."""
        chance = chance_of(self.name, seed, number)
        found = self.bases()
        base = found[number % len(found)]
        count = chance.choice([1, 1, 1, 2, 3, _MOST])
        edits = tuple(_draw(chance, base) for _ in range(count))
        try:
            return self._try(base, edits, number)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of a library in Rust is no Exception
            edits, error = self._reduced(base, edits, number, error)
            raise CaseFailed(f"{base.name}: {self.described(base, edits)}", why(error)) from None

    def described(self, base: Base, edits: tuple[Edit, ...]) -> str:
        """What the edits did, for people."""
        lines = []
        for edit in edits:
            lines.append(str(edit))
        changed = applied(edits, base.files)
        for name in sorted({edit.file for edit in edits}):
            before, after = base.files[name], changed[name]
            start = next((i for i, (a, b) in enumerate(zip(before, after)) if a != b), min(len(before), len(after)))
            lines.append(f"  {name}: from byte {start:,}: {after[max(0, start - 20) : start + 60]!r}")
        return "\n".join(lines)

    def _try(self, base: Base, edits: tuple[Edit, ...], number: int) -> str:
        with limits():
            return self.judge(base, applied(edits, base.files), number)

    def _reduced(
        self, base: Base, edits: tuple[Edit, ...], number: int, error: BaseException
    ) -> tuple[tuple[Edit, ...], BaseException]:
        """The fewest and simplest edits that fail in the same way."""
        sought, tries = signature(error), 0
        candidates = iter(self._smaller(edits))
        while tries < _TRIES and (smaller := next(candidates, None)) is not None:
            tries += 1
            try:
                self._try(base, smaller, number)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as other:
                if signature(other) == sought:
                    edits, error = smaller, other
                    candidates = iter(self._smaller(edits))
        return edits, error

    @staticmethod
    def _smaller(edits: tuple[Edit, ...]) -> list[tuple[Edit, ...]]:
        fewer = [edits[:i] + edits[i + 1 :] for i in range(len(edits))] if len(edits) > 1 else []
        return fewer + [(*edits[:i], e, *edits[i + 1 :]) for i, edit in enumerate(edits) for e in edit.simpler()]


def _draw(chance: random.Random, base: Base) -> Edit:
    often = base.often if chance.random() < 0.75 else ""
    return draw(chance, {often: base.files[often]} if often else base.files, kinds_for)


def require(holds: bool, what: str) -> None:
    """Raise `Wrong` unless a statement about a result holds."""
    if not holds:
        raise Wrong(what)
