from __future__ import annotations

import asyncio
import threading
import time

import pytest

from cbalign.apps.serving.batching import Batcher, BatchLimits, Busy


def test_what_comes_together_is_computed_together_and_each_gets_its_own() -> None:
    runs: list[list[int]] = []

    def double(items: list[int]) -> list[int]:
        runs.append(items)
        return [2 * item for item in items]

    async def scenario() -> list[list[int]]:
        async with Batcher(double, BatchLimits(size=8, wait=0.2)) as batcher:
            return await asyncio.gather(*(batcher.submit([n, n + 100]) for n in range(10)))

    assert asyncio.run(scenario()) == [[2 * n, 2 * n + 200] for n in range(10)]
    assert [len(run) for run in runs] == [8, 8, 4]


def test_a_lone_item_is_not_kept_waiting_for_others() -> None:
    async def scenario() -> list[int]:
        async with Batcher(lambda items: items, BatchLimits(size=8, wait=0.001)) as batcher:
            return await asyncio.wait_for(batcher.submit([1]), 5)

    assert asyncio.run(scenario()) == [1]


def test_a_full_queue_turns_away_all_or_nothing() -> None:
    gate = threading.Event()

    def wait(items: list[int]) -> list[int]:
        gate.wait(10)
        return items

    async def scenario() -> tuple[list[int], int]:
        async with Batcher(wait, BatchLimits(size=1, wait=0, queue=3)) as batcher:
            running = asyncio.create_task(batcher.submit([0]))
            while len(batcher) or not running.get_coro():  # until the thread has it
                await asyncio.sleep(0.01)
            waiting = asyncio.create_task(batcher.submit([1, 2]))
            await asyncio.sleep(0.01)
            with pytest.raises(Busy):
                await batcher.submit([3, 4])
            left = len(batcher)
            last = asyncio.create_task(batcher.submit([5]))
            gate.set()
            return await running + await waiting + await last, left

    assert asyncio.run(scenario()) == ([0, 1, 2, 5], 2)


def test_a_failure_reaches_those_who_asked_and_the_next_are_served() -> None:
    def divide(items: list[int]) -> list[float]:
        return [1 / item for item in items]

    async def scenario() -> list[float]:
        async with Batcher(divide, BatchLimits(size=2, wait=0.1)) as batcher:
            failed = await asyncio.gather(batcher.submit([0]), batcher.submit([1]), return_exceptions=True)
            assert [type(error) for error in failed] == [ZeroDivisionError] * 2
            return await batcher.submit([4])

    assert asyncio.run(scenario()) == [0.25]


def test_what_nobody_awaits_any_more_is_not_computed() -> None:
    seen: list[int] = []

    def slow(items: list[int]) -> list[int]:
        seen.extend(items)
        time.sleep(0.1)
        return items

    async def scenario() -> None:
        async with Batcher(slow, BatchLimits(size=1, wait=0)) as batcher:
            first = asyncio.create_task(batcher.submit([1]))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(batcher.submit([2]), 0.01)
            assert await first == [1]
            assert await batcher.submit([3]) == [3]

    asyncio.run(scenario())
    assert seen == [1, 3]
