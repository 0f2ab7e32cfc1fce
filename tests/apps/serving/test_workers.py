"""Threads of the server that die, and memory that concurrent requests share."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from concurrent.futures import CancelledError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbalign.apps.serving.batching import Batcher, BatchLimits, Busy
from cbalign.apps.serving.budget import Budget
from cbalign.apps.serving.workers import WorkerLostError, Workers


def names(prefix: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == prefix]


def kill(thread: threading.Thread) -> None:
    """Raise `SystemExit` in a thread, as soon as it runs Python again."""
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))


def test_a_thread_that_dies_is_replaced_and_its_function_runs_again() -> None:
    workers = Workers(1, "test-dies")
    calls: list[int] = []

    def dies_once() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise SystemExit  # as a killed thread sees it
        return 7

    assert workers.submit(dies_once).result(10) == 7
    assert workers.submit(lambda: 8).result(10) == 8
    workers.close()
    assert names("test-dies") == []


def test_a_thread_that_dies_while_it_waits_loses_nothing() -> None:
    workers = Workers(1, "test-idle")
    for number in range(20):
        assert workers.submit(lambda n=number: n).result(10) == number
        time.sleep(0.01)  # let it wait
        for thread in threading.enumerate():
            if thread.name == "test-idle":
                kill(thread)
    assert workers.submit(lambda: 7).result(10) == 7
    workers.close()


def test_a_function_that_kills_two_threads_is_given_up_and_others_still_run() -> None:
    def dies() -> None:
        raise SystemExit

    workers = Workers(2, "test-twice")
    lost = [workers.submit(dies) for _ in range(5)]
    for future in lost:
        with pytest.raises(WorkerLostError, match="died twice"):
            future.result(10)
    assert [workers.submit(lambda n=n: n).result(10) for n in range(5)] == [0, 1, 2, 3, 4]
    assert len(names("test-twice")) == 2
    workers.close()


def test_exceptions_arrive_and_cancelled_functions_do_not_run() -> None:
    workers = Workers(1, "test-cancel")
    go = threading.Event()
    ran: list[int] = []
    first = workers.submit(go.wait)
    second = workers.submit(lambda: ran.append(1))
    assert second.cancel()
    third = workers.submit(lambda: 1 / 0)
    last = workers.submit(lambda: ran.append(2))
    go.set()
    assert first.result(10)
    with pytest.raises(ZeroDivisionError):
        third.result(10)
    last.result(10)
    assert ran == [2]
    workers.close()


def test_closing_drops_what_waits() -> None:
    workers = Workers(1, "test-close")
    started = threading.Event()

    def slow() -> int:
        started.set()
        time.sleep(0.1)
        return 1

    first, second = workers.submit(slow), workers.submit(lambda: 2)
    assert started.wait(10)
    workers.close()
    assert first.result(0) == 1
    with pytest.raises(CancelledError):
        second.result(0)


def test_a_batch_survives_the_death_of_its_thread() -> None:
    deaths: list[int] = []

    def run(items: list[int]) -> list[int]:
        if len(deaths) < 1:
            deaths.append(1)
            raise SystemExit
        return [2 * item for item in items]

    async def scenario() -> None:
        async with Batcher(run, BatchLimits(wait=0)) as batcher:
            assert await asyncio.wait_for(batcher.submit([1, 2]), 10) == [2, 4]
            assert await asyncio.wait_for(batcher.submit([3]), 10) == [6]

    asyncio.run(scenario())


def test_promised_places_of_a_queue_are_taken() -> None:
    async def scenario() -> None:
        async with Batcher(lambda items: items, BatchLimits(queue=3, wait=0)) as batcher:
            with batcher.room_for(2):
                with pytest.raises(Busy):
                    await batcher.submit([1, 2])
                assert await batcher.submit([1]) == [1]
            assert await batcher.submit([1, 2, 3]) == [1, 2, 3]

    asyncio.run(scenario())


@settings(max_examples=200, deadline=None)
@given(
    amounts=st.lists(st.integers(0, 10), max_size=12),
    cancelled=st.sets(st.integers(0, 11)),
    pauses=st.lists(st.integers(0, 3), min_size=12, max_size=12),
)
def test_a_budget_is_never_exceeded_nobody_starves_and_all_of_it_comes_back(
    amounts: list[int], cancelled: set[int], pauses: list[int]
) -> None:
    held, most = 0, 0

    async def holder(budget: Budget, amount: int, pause: int) -> None:
        nonlocal held, most
        await budget.take(amount)
        held += amount
        most = max(most, held)
        try:
            for _ in range(pause):
                await asyncio.sleep(0)
        finally:
            held -= amount
            budget.give(amount)

    async def scenario() -> None:
        budget = Budget(10)
        tasks = [asyncio.create_task(holder(budget, *each)) for each in zip(amounts, pauses)]
        await asyncio.sleep(0)
        for number in cancelled & set(range(len(tasks))):
            tasks[number].cancel()
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert budget.left == budget.total

    asyncio.run(scenario())
    assert most <= 10


def test_more_than_the_whole_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="exceeds"):
        asyncio.run(Budget(10).take(11))
