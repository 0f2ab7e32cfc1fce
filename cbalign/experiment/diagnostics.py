"""Compiler-style diagnostics for specs: `file:line:col: message`, the line, a caret and a hint."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from cbalign.errors import SpecError, readable
from cbalign.experiment.document import Place

EXCERPT_WIDTH = 96
LONGEST = 1_000  # characters of a message or hint, which may quote a text of any length


@dataclass(frozen=True)
class Diagnostic:
    """A mistake in a spec.

    Attributes:
        message: the problem, in one line.
        place: its location in the source, if any.
        path: dotted path of the setting.
        hint: how to fix it.
        help: the help text of the setting.
        unknown_part: whether the name may be that of a part of a missing distribution.
        unset_variable: the environment variable that is not set, if that is the problem.
    """

    message: str
    place: Place | None = None
    path: str = ""
    hint: str | None = None
    help: str | None = None
    unknown_part: bool = False
    unset_variable: str | None = None

    def __post_init__(self) -> None:
        for name in ("message", "hint", "help"):
            if text := getattr(self, name):
                object.__setattr__(self, name, readable(text, LONGEST))

    def as_text(self) -> str:
        """Format the message, an excerpt with a caret, the hint and the help as several lines."""
        lines = [self.message] if self.place is None else [f"{self.place}: {self.message}", *excerpt(self.place)]
        return "\n".join([*lines, *self._remarks("  ")])

    def _remarks(self, indent: str) -> list[str]:
        told = (("hint", self.hint), ("help", self.help))
        return [f"{indent}{name}: {text}" for name, text in told if text]

    def as_github(self) -> str:
        """Format a GitHub workflow command, which annotates the line."""
        text = "\n".join([self.message, *self._remarks("")])
        text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        if self.place is None or self.place.source.kind == "option":
            return f"::error::{text}"
        name = self.place.source.name.replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
        return f"::error file={name},line={self.place.line},col={self.place.column}::{text}"

    def as_data(self) -> dict[str, str | int | None]:
        """Return JSON data for `--json`."""
        place = self.place
        in_file = place is not None and place.source.kind == "file"
        return {
            "message": self.message,
            "path": self.path or None,
            "file": place.source.name if place and in_file else None,
            "line": place.line if place and in_file else None,
            "column": place.column if place and in_file else None,
            "length": place.length if place and in_file else None,
            "option": place.source.name if place and not in_file else None,
            "hint": self.hint,
            "help": self.help,
        }


class InvalidSpec(SpecError):
    """A spec is invalid; lists every mistake found.

    Attributes:
        diagnostics: the mistakes, in the order of the file.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(dict.fromkeys(diagnostics), key=reading_order))
        texts = [diagnostic.as_text() for diagnostic in self.diagnostics]
        if len(texts) > 1:
            texts.append(f"{len(texts)} mistakes")
        super().__init__("\n\n".join(texts))


def reading_order(diagnostic: Diagnostic) -> tuple[bool, bool, str, int, int]:
    """Return the key that sorts diagnostics in the order of the file, those without a place last."""
    place = diagnostic.place
    if place is None:
        return (True, False, "", 0, 0)
    return (False, place.source.kind == "option", place.source.name, place.line, place.column)


def excerpt(place: Place) -> list[str]:
    """Return the line of `place` and a line of carets; long lines are cut around them. Empty for length 0."""
    lines = place.source.lines
    if place.length == 0 or place.line > len(lines):
        return []
    line = "".join(_printable(character) for character in lines[place.line - 1])
    start = min(place.column - 1, len(line))
    stop = max(start + 1, min(start + place.length, len(line)))
    before = ""
    if stop > EXCERPT_WIDTH:
        cut = max(0, start - EXCERPT_WIDTH // 3)
        line, start, stop, before = line[cut:], start - cut, stop - cut, "…"
    if len(line) > EXCERPT_WIDTH:
        line, stop = line[:EXCERPT_WIDTH] + "…", min(stop, EXCERPT_WIDTH)
    indent = _width(before + line[:start])
    carets = max(1, _width(line[start:stop]))
    number = str(place.line) if place.source.kind == "file" else ""
    margin = " " * (len(number) + 2)
    return [f"  {number} | {before}{line.rstrip()}", f"{margin} | {' ' * indent}{'^' * carets}"]


def _printable(character: str) -> str:
    """Replace tabs by one space and control characters by something harmless to terminals."""
    if character == "\t":
        return " "
    return "�" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character


def _width(text: str) -> int:
    """Return the number of terminal columns of `text`."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )
