"""Worker processes that all call one function, and end with their parent whatever ends it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from cbalign.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

_ORPHAN_CHECK_SECONDS = 2.0
_CHUNK = 16
_AHEAD = 3


def worker_processes(count: int, function: Callable[[Any], Any]) -> ProcessPoolExecutor:
    """Processes that hold `function`; submit `call_in_worker` with its argument."""
    # Forked workers share the lists of pairs and the images rasterised so far instead of copying them.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_start_worker, initargs=(function, os.getpid()))


def call_in_worker(argument: Any) -> Any:
    """Call the function that this worker was started with."""
    return _function(argument)


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """`map` over worker processes: results in order, only a few computed ahead of what is asked for.

    Args:
        function: of one item; what it needs is sent to each worker once.
        items: what to call it with.
        workers: how many processes; 0 calls it in this one.

    Raises:
        DataError: a worker was killed.
    """
    if workers == 0:
        yield from map(function, items)
        return
    chunks = _chunks(items)
    pending: deque[Future[list[Result]]] = deque()
    pool = worker_processes(workers, _Each(function))
    try:
        for chunk in islice(chunks, _AHEAD * workers):
            pending.append(pool.submit(call_in_worker, chunk))
        while pending:
            results = pending.popleft().result()
            for chunk in islice(chunks, 1):
                pending.append(pool.submit(call_in_worker, chunk))
            yield from results
    except BrokenProcessPool as error:
        raise DataError(
            "A worker process was killed.", remedy="Often memory is short: use fewer with --workers."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Each:
    """A function of one item as one of several."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, items: list[Any]) -> list[Any]:
        return [self._function(item) for item in items]


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


_function: Callable[[Any], Any]


def _start_worker(function: Callable[[Any], Any], parent: int) -> None:
    global _function
    _function = function
    # Stopping is the main process's decision: Ctrl-C reaches the whole group, its handlers are not ours.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this worker when its parent was killed and could not end it."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_CHECK_SECONDS)
    os._exit(1)
