"""Worker processes that call one function and end with their parent, even if it is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from cbalign.data.batches import in_batches
from cbalign.errors import DataError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_ORPHAN_CHECK_SECONDS = 2.0
_CHUNK = 16
_AHEAD = 3


def worker_processes(count: int, function: Callable[[Any], Any]) -> ProcessPoolExecutor:
    """Start processes with a function; submit `call_in_worker` with its argument."""
    # Forked workers share the lists of items and the images rasterised so far instead of copying them.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_start_worker, initargs=(function, os.getpid()))


def call_in_worker(argument: Any) -> Any:
    """Call the function that this worker was started with."""
    return _function(argument)


def ordered_map(
    function: Callable[[ItemT], ResultT], items: Iterable[ItemT], workers: int
) -> Generator[ResultT, None, None]:
    """Map a function over worker processes: results in order, with only a few computed ahead.

    Args:
        function: of one item; sent to each worker once.
        items: the arguments.
        workers: number of processes; 0 calls the function in this one.

    Raises:
        DataError: a worker was killed.
    """
    if workers == 0:
        yield from map(function, items)
        return
    chunks = in_batches(items, _CHUNK)
    pending: deque[Future[list[ResultT]]] = deque()
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
            "a worker process was killed", remedy="It probably ran out of memory: use fewer workers with --workers."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Each:
    """Applies a function of one item to several."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, items: list[Any]) -> list[Any]:
        return [self._function(item) for item in items]


_function: Callable[[Any], Any]


def _start_worker(function: Callable[[Any], Any], parent: int) -> None:
    global _function
    _function = function
    # Ctrl-C reaches the whole process group; the main process decides when workers stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this worker if its parent was killed."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_CHECK_SECONDS)
    os._exit(1)
