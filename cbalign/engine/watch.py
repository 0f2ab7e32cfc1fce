"""Find the processes that the others wait for: torch's collective operations wait without saying for whom.

Every process publishes in the group's key-value store that it is alive, and whether it waits for others. When one has
waited for too long, the others' entries tell which process does not respond, or works on something else.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, Self

from cbalign.engine.launch import leave_report
from cbalign.errors import ProcessLostError

_LONGEST_INTERVAL = 5.0  # seconds between entries
_BEATS = 8  # entries within the time limit


class Store(Protocol):
    """The operations that are used of torch's `dist.Store`."""

    def set(self, key: str, value: str) -> None:
        """Store a value."""

    def get(self, key: str) -> bytes:
        """Return a value; waits until there is one."""

    def check(self, keys: list[str]) -> bool:
        """Whether all keys have a value."""


@dataclass(frozen=True)
class RankState:
    """What a process published: its `beat` counts the entries, `waits` the completed waits for others."""

    beat: int
    is_waiting: bool
    waits: int


class RankWatch:
    """Watches the processes of a group from one of them; a context that ends its threads.

    Args:
        store: the group's store.
        rank, size: of this process, and of the group.
        limit: seconds that this process may wait for others.
        give_up: called with the error when it has waited for longer; by default reports it and ends the process.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        size: int,
        limit: float,
        give_up: Callable[[ProcessLostError], None] | None = None,
    ) -> None:
        self._store, self._rank, self._size, self._limit = store, rank, size, limit
        self._give_up = give_up or _end_process
        self._interval = min(limit / _BEATS, _LONGEST_INTERVAL)
        self._depth, self._since, self._waits = 0, 0.0, 0
        self._first: dict[int, RankState | None] = {}  # the others' entries when this process began to wonder
        self._heard = time.monotonic()  # the last time that the store answered
        self._lost: str | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        for work in (self._publish, self._supervise):
            threading.Thread(target=work, daemon=True, name="cbalign-watch").start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark work that may wait for other processes."""
        if self._depth == 0:
            self._since = time.monotonic()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            self._waits += self._depth == 0

    @property
    def _waited(self) -> float:
        return time.monotonic() - self._since if self._depth else 0.0

    def _publish(self) -> None:
        beat = 0
        while not self._ended.wait(self._interval):
            beat += 1
            try:
                self._store.set(_key(self._rank), json.dumps([beat, self._depth > 0, self._waits]))
                waited = self._waited
                if waited < self._limit / 2:
                    self._first = {}
                elif not self._first:
                    self._first = self._others()
                elif waited > self._limit:
                    self._lost = blame(self._first, self._others())
                self._heard = time.monotonic()
            except RuntimeError:  # the store is gone; the collective operation reports it
                return

    def _others(self) -> dict[int, RankState | None]:
        found: dict[int, RankState | None] = {}
        for rank in range(self._size):
            if rank != self._rank:
                known = self._store.check([_key(rank)])
                found[rank] = RankState(*json.loads(self._store.get(_key(rank)))) if known else None
        return found

    def _supervise(self) -> None:
        """Give up when the limit is over, even if the store, which process 0 keeps, answers no more."""
        while not self._ended.wait(self._interval / 2):
            waited = self._waited
            if waited <= self._limit:
                continue
            silent = time.monotonic() - self._heard > max(3 * self._interval, self._limit / 2)
            lost = self._lost or ("process 0 does not respond" if silent and self._rank else None)
            if lost is not None or waited > 2 * self._limit:
                self._ended.set()
                self._give_up(_error(lost or "no process tells why", waited))
                return


def blame(first: Mapping[int, RankState | None], last: Mapping[int, RankState | None]) -> str:
    """Return which processes the others wait for, from two looks at what they published.

    Args:
        first: the earlier entries by rank; None for a process without any.
        last: the later entries.
    """
    silent = [rank for rank, state in last.items() if state is None or state == first.get(rank)]
    if silent:
        return f"{_named(silent)} not respond"
    busy = [rank for rank, state in last.items() if state is not None and not state.is_waiting]
    if busy:
        return f"{_named(busy)} not come to the point where the others wait"
    fewest = min(state.waits for state in last.values() if state is not None)
    behind = [rank for rank, state in last.items() if state is not None and state.waits == fewest]
    return f"{_named(behind)} not answer, although waiting as well"


def _named(ranks: list[int]) -> str:
    shown = ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
    return f"process {shown} does" if len(ranks) == 1 else f"processes {shown} do"


def _error(lost: str, waited: float) -> ProcessLostError:
    return ProcessLostError(
        f"This training waited {waited:.0f} seconds for another process: {lost}.",
        remedy="Look at that process and its machine, then resume from the newest checkpoint. "
        "`train.process_timeout` is the limit.",
    )


def _key(rank: int) -> str:
    return f"cbalign/watch/{rank}"


def _end_process(error: ProcessLostError) -> None:
    """Report the error and end: the main thread is inside a collective operation, which nothing can interrupt."""
    if not leave_report(error.message, error.remedy, error.exit_code, type(error).__name__):
        print(f"error: {error.message}\n{error.remedy}", file=sys.stderr, flush=True)
    os._exit(error.exit_code)
