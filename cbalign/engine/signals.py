"""Signals that stop a training: the first takes effect after the current step, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from cbalign.errors import Interrupted

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


class StopNow(BaseException):
    """Raised inside `StopSignals.immediate` when a signal arrives; never leaves the engine."""


@contextmanager
def stop_preparation(remedy: str) -> Iterator[None]:
    """Let SIGTERM and SIGUSR1 end a command before it trains, with exit code 75; afterwards SIGUSR1 has no effect.

    A scheduler that warns a job (`--signal=USR1@120`) does so at any moment: before the first step there is nothing to
    save, and a finished training must not be killed while its process exits. Python cannot listen outside the main
    thread, where this does nothing.

    Args:
        remedy: how to start again.

    Raises:
        Interrupted: one of the signals arrived.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # one is enough; a second would break off the message
        raise _Preparing(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in SIGNALS if number != signal.SIGINT}
    try:
        yield
    except _Preparing as stopped:
        raise Interrupted(f"Stopped by {stopped} before the training began.", remedy=remedy) from None
    finally:
        for number, handler in before.items():
            ignored = number == getattr(signal, "SIGUSR1", None)
            signal.signal(number, signal.SIG_IGN if ignored else handler)


class _Preparing(BaseException):
    """Raised by a signal before the training; no `except Exception` of a library may swallow it."""


class StopSignals:
    """Listens to SIGTERM, SIGINT and SIGUSR1 while its context lasts.

    SIGUSR1 is what SLURM sends ahead of the time limit with `--signal=USR1@120`. Outside the main thread, where Python
    cannot listen, it does nothing.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._immediate = False
        self._previous: dict[signal.Signals, object] = {}

    @property
    def received(self) -> str | None:
        """The name of the signal that arrived, if one did."""
        return None if self._received is None else self._received.name

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._listen) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def immediate(self) -> Iterator[None]:
        """Mark work without side effects as interruptible: a signal raises `StopNow` at once."""
        if self._received is not None:
            raise StopNow
        self._immediate = True
        try:
            yield
        finally:
            self._immediate = False

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a `KeyboardInterrupt` that is raised inside count as SIGINT: it takes effect after the current step."""
        try:
            yield
        except KeyboardInterrupt:
            self._received = signal.SIGINT

    def _listen(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._received = signal.Signals(number)
        if self._immediate:
            raise StopNow
