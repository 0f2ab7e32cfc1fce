"""Threads that run the server's blocking functions. One that dies is replaced, and its function runs once more."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

ResultT = TypeVar("ResultT")

_ATTEMPTS = 2
_LOG = logging.getLogger(__name__)


class WorkerLostError(Exception):
    """The thread that ran a function died, as did the one that repeated it."""


class Workers:
    """A fixed number of threads with one queue.

    A `ThreadPoolExecutor` never replaces a thread that died, for example because memory was exhausted between two
    functions, so that those in its queue wait forever.

    Args:
        count: number of threads.
        name: prefix of their names.
    """

    def __init__(self, count: int, name: str) -> None:
        self._name = name
        # Not a `SimpleQueue`: a thread that dies inside `get` takes an item with it.
        self._tasks: deque[_Task[Any]] = deque()
        self._changed = threading.Condition()
        self._threads: set[threading.Thread] = set()
        self._closed = False
        for _ in range(count):
            self._start()

    def submit(self, function: Callable[[], ResultT]) -> Future[ResultT]:
        """Queue a function; the future has its result. Cancelling it before it runs drops the function."""
        task = _Task(function)
        self._put(task)
        return task.future

    def close(self) -> None:
        """Drop functions that do not run yet, and wait for the others."""
        with self._changed:
            self._closed = True
            dropped = list(self._tasks)
            self._tasks.clear()
            self._changed.notify_all()
            threads = list(self._threads)
        for task in dropped:
            task.future.cancel()
        for thread in threads:
            thread.join()

    def _start(self) -> None:
        with self._changed:
            if not self._closed:
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._threads.add(thread)
                thread.start()

    def _put(self, task: _Task[Any]) -> None:
        with self._changed:
            if self._closed:
                task.future.cancel()
            self._tasks.append(task)
            self._changed.notify()

    def _next(self) -> _Task[Any] | None:
        with self._changed:
            while not self._tasks:
                if self._closed:
                    return None
                self._changed.wait()
            return self._tasks.popleft()

    def _work(self) -> None:
        task: _Task[Any] | None = None
        try:
            while (task := self._next()) is not None:
                task.run()
                task = None
        except BaseException as error:  # only what ends a thread arrives here
            _LOG.error("a worker thread died (%s); another one takes its place", type(error).__name__)
            if task is not None:
                self._repeat(task)
            self._start()
        finally:
            with self._changed:
                self._threads.discard(threading.current_thread())

    def _repeat(self, task: _Task[Any]) -> None:
        if task.attempts < _ATTEMPTS:
            self._put(task)
        elif not task.future.done():
            task.future.set_exception(WorkerLostError("the thread that computed the answer died twice"))


class _Task(Generic[ResultT]):
    def __init__(self, function: Callable[[], ResultT]) -> None:
        self.future: Future[ResultT] = Future()
        self.attempts = 0
        self._function: Callable[[], ResultT] | None = function
        self.future.add_done_callback(self._drop)

    def run(self) -> None:
        self.attempts += 1
        if self.attempts == 1 and not self.future.set_running_or_notify_cancel():
            return
        function = self._function
        if function is None or self.future.done():
            return
        try:
            result = function()
        except Exception as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def _drop(self, _: Future[ResultT]) -> None:
        self._function = None  # with the data that it holds
