"""The exceptions that users meet. Each carries its exit code; only the command line turns one into it."""

from __future__ import annotations


class CbalignError(Exception):
    """Something the user can act on: a message, and where there is one the remedy.

    Args:
        message: what is wrong and where, in one or a few lines.
        remedy: what to do about it, as a sentence in the imperative.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return self.message if self.remedy is None else f"{self.message}\n{self.remedy}"


class ProcessLostError(CbalignError):
    """One of the processes that train together is gone, so the others cannot go on."""

    exit_code = 1


class ParityError(CbalignError):
    """An exported model does not compute what the trained one computes."""

    exit_code = 1


class UsageError(CbalignError):
    """A command cannot do what it was asked to, as it was asked."""

    exit_code = 2


class SpecError(CbalignError):
    """A spec is invalid; the message lists every mistake with file, line and column."""

    exit_code = 2


class MissingExtraError(CbalignError):
    """A command needs packages that are not installed."""

    exit_code = 2


class PartError(CbalignError):
    """A part of an installed distribution cannot be built as its section describes."""

    exit_code = 2


class DataError(CbalignError):
    """Images, captions or the files that list them cannot be used."""

    exit_code = 3


class MissingImageError(DataError):
    """An image that a list names is not there."""


class CheckpointError(CbalignError):
    """A run or checkpoint cannot be read or does not fit."""

    exit_code = 3


class BundleError(CbalignError):
    """An exported bundle is damaged, incomplete or of another format."""

    exit_code = 3


class StorageError(CbalignError):
    """A file cannot be written: the disk is full, read-only or not ours."""

    exit_code = 3


class DeviceError(CbalignError):
    """A device or execution provider that was asked for is not there."""

    exit_code = 4


class DivergenceError(CbalignError):
    """Training produced a loss that is not a number; nothing was updated with it."""

    exit_code = 5


class Interrupted(CbalignError):
    """Training was asked to stop and saved a checkpoint to go on from."""

    exit_code = 75
