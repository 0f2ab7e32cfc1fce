"""Dynamic batching: compute items of concurrent requests in one run."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Generic, TypeVar

from cbalign.apps.serving.workers import Workers

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

Observer = Callable[[int, float], None]
"""Callback after every run: `(items, seconds)`."""


class Busy(Exception):
    """The queue is full; the client should retry later."""


@dataclass(frozen=True)
class BatchLimits:
    """A batch runs at `size` items, or `wait` seconds after its first item. At most `queue` items may wait."""

    size: int = 16
    wait: float = 0.005
    queue: int = 256


class Batcher(Generic[ItemT, ResultT]):
    """A queue of items and a thread that runs them in batches. Use it as an async context manager.

    Args:
        run: computes one result per item, in order; called in the thread.
        limits: limits of batches and queue.
        observe: callback after every run.
    """

    def __init__(
        self,
        run: Callable[[list[ItemT]], Sequence[ResultT]],
        limits: BatchLimits,
        observe: Observer = lambda items, seconds: None,
    ) -> None:
        self._run = run
        self._limits = limits
        self._observe = observe
        self._waiting: deque[tuple[ItemT, asyncio.Future[ResultT]]] = deque()
        self._promised = 0
        self._arrived = asyncio.Event()

    async def __aenter__(self) -> Batcher[ItemT, ResultT]:
        self._thread = Workers(1, "cbalign-batch")
        self._task = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._thread.close)

    def __len__(self) -> int:
        return len(self._waiting)

    @contextmanager
    def room_for(self, items: int) -> Iterator[None]:
        """Keep places in the queue free while items are prepared, so that no more are prepared than it takes.

        Raises:
            Busy: the queue does not have enough room.
        """
        self._require_room(items)
        self._promised += items
        try:
            yield
        finally:
            self._promised -= items

    async def submit(self, items: Sequence[ItemT]) -> list[ResultT]:
        """Queue all items, or none, and return their results.

        Raises:
            Busy: the queue does not have enough room.
        """
        self._require_room(len(items))
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in items]
        self._waiting.extend(zip(items, futures))
        self._arrived.set()
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:  # after a failure or a timeout, the other results are not needed
                future.cancel()

    def _require_room(self, items: int) -> None:
        if len(self._waiting) + self._promised + items > self._limits.queue:
            raise Busy

    async def _serve(self) -> None:
        while True:
            batch = await self._next_batch()
            if not batch:
                continue
            started = perf_counter()
            try:
                job = partial(self._run, [item for item, _ in batch])
                results = await asyncio.wrap_future(self._thread.submit(job))
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            self._observe(len(batch), perf_counter() - started)
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _next_batch(self) -> list[tuple[ItemT, asyncio.Future[ResultT]]]:
        """Return a full batch, or the items that arrived within `wait` seconds; cancelled items are skipped."""
        await self._arrived.wait()
        try:
            async with asyncio.timeout(self._limits.wait):
                while len(self._waiting) < self._limits.size:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            pass
        batch: list[tuple[ItemT, asyncio.Future[ResultT]]] = []
        while self._waiting and len(batch) < self._limits.size:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        if self._waiting:
            self._arrived.set()
        else:
            self._arrived.clear()
        return batch
