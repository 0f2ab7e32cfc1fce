"""The exceptions that cbalign raises for users. Each has the exit code that the command line returns.

Messages name arguments as in Python, in backticks: `force=True`, `device="cpu"`, `output=…`. The command line shows its
own options in their place.
"""

from __future__ import annotations

import re

LONGEST_LINE = 2_000
"""Characters of a line of a message; longer ones are cut in the middle."""

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_ADDRESS = re.compile(r" object at 0x[0-9a-f]+")


def readable(text: str, longest: int = LONGEST_LINE) -> str:
    """Make a message fit for a terminal, whatever a file that it quotes contains.

    Control characters, which could change what a terminal shows, become escapes such as `\\x1b`; lines of more than
    `longest` characters are cut; addresses of Python objects are left out.
    """
    shown = _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return "\n".join(_cut(line, longest) for line in _ADDRESS.sub("", shown).split("\n"))


def _cut(line: str, longest: int) -> str:
    if len(line) <= longest:
        return line
    return f"{line[: longest // 2]} … ({len(line):,} characters) … {line[-longest // 4 :]}"


class CbalignError(Exception):
    """An error that the user can act on, with a message and an optional remedy.

    Args:
        message: the problem and its location, in one or a few lines.
        remedy: how to fix it, as a sentence in the imperative.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        self.message = readable(message)
        self.remedy = None if remedy is None else readable(remedy)
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message if self.remedy is None else f"{self.message}\n{self.remedy}"


class ProcessLostError(CbalignError):
    """A process of a distributed training ended, so the others cannot continue."""

    exit_code = 1


class ParityError(CbalignError):
    """An exported model does not compute what the trained one computes."""

    exit_code = 1


class UsageError(CbalignError):
    """A function or command was called with arguments that it cannot use."""

    exit_code = 2


class SpecError(CbalignError):
    """A spec is invalid; the message lists every mistake with its place and, where there is one, a hint.

    Tracebacks show it as its subclass `InvalidSpec`, which has the mistakes one by one in `diagnostics`. `remedy` is
    None: each mistake has its own hint.
    """

    exit_code = 2


class MissingExtraError(CbalignError):
    """A function or command needs packages that are not installed."""

    exit_code = 2


class PartError(CbalignError):
    """A part of an installed distribution cannot be built as its section describes."""

    exit_code = 2


class DataError(CbalignError):
    """Images, captions or the files that list them cannot be used."""

    exit_code = 3


class MissingImageError(DataError):
    """An image file that a list names does not exist."""


class CheckpointError(CbalignError):
    """A run or checkpoint cannot be read or does not match the model."""

    exit_code = 3


class DamagedCheckpointError(CheckpointError):
    """A file of a checkpoint is missing, damaged or was changed."""


class BundleError(CbalignError):
    """An exported bundle is damaged, incomplete or in an unsupported format."""

    exit_code = 3


class StorageError(CbalignError):
    """A file cannot be written: the disk is full, read-only or access is denied."""

    exit_code = 3


class DeviceError(CbalignError):
    """A requested device or execution provider is not available."""

    exit_code = 4


class DivergenceError(CbalignError):
    """Training produced a loss that is not finite; the weights were not updated with it."""

    exit_code = 5


class Interrupted(CbalignError):
    """Training was interrupted and saved a checkpoint to resume from."""

    exit_code = 75
