"""Processes that hang are named; the processes are threads here, and in tests/cli/test_train.py real ones."""

import threading
import time

import pytest

from cbalign.engine.watch import RankState, RankWatch, blame

LIMIT = 0.8


class Memory:
    """A store in memory that stops to answer when its process is stopped."""

    def __init__(self):
        self.values = {}
        self.answers = threading.Event()
        self.answers.set()

    def set(self, key, value):
        self.answers.wait()
        self.values[key] = value.encode()

    def get(self, key):
        self.answers.wait()
        return self.values[key]

    def check(self, keys):
        self.answers.wait()
        return all(key in self.values for key in keys)


@pytest.fixture
def group():
    """Three watches and the errors that they gave up with, by rank."""
    store, errors = Memory(), {}
    watches = [
        RankWatch(store, rank, 3, LIMIT, lambda error, rank=rank: errors.setdefault(rank, error)) for rank in range(3)
    ]
    for watch in watches:
        watch.__enter__()
    yield watches, store, errors
    for watch in watches:
        watch.__exit__()
    store.answers.set()


def until(condition):
    deadline = time.monotonic() + 10 * LIMIT
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def test_a_process_that_works_on_something_else_is_named(group):
    watches, _, errors = group
    with watches[0].waiting(), watches[2].waiting():
        until(lambda: errors)
    told = next(iter(errors.values())).message
    assert "process 1 does not come to the point where the others wait" in told
    assert "waited" in told


def test_a_process_that_is_stopped_is_named(group):
    watches, _, errors = group
    with watches[1].waiting():
        time.sleep(3 * LIMIT / 8)
    watches[1].__exit__()  # no more entries
    with watches[0].waiting(), watches[2].waiting():
        until(lambda: errors)
    assert "process 1 does not respond" in next(iter(errors.values())).message


def test_the_process_that_keeps_the_store_is_named_if_the_store_is_silent(group):
    watches, store, errors = group
    store.answers.clear()
    with watches[1].waiting():
        until(lambda: 1 in errors)
    assert "process 0 does not respond" in errors[1].message


def test_short_waits_are_no_reason_to_give_up(group):
    watches, _, errors = group
    for _ in range(6):
        for watch in watches:
            with watch.waiting(), watch.waiting():
                time.sleep(LIMIT / 8)
    assert errors == {}


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [
        ({1: RankState(5, True, 3), 2: None}, {1: RankState(9, True, 3), 2: None}, "process 2 does not respond"),
        (
            {r: RankState(5, True, 3) for r in range(1, 20)},
            {r: RankState(5, True, 3) for r in range(1, 20)},
            "processes 1, 2, 3, 4, 5, 6, 7, 8 and 11 more do not respond",
        ),
        (
            {1: RankState(5, True, 3), 2: RankState(5, True, 2)},
            {1: RankState(6, True, 3), 2: RankState(6, True, 2)},
            "process 2 does not answer, although waiting as well",
        ),
    ],
)
def test_who_is_blamed(first, last, told):
    assert blame(first, last) == told
