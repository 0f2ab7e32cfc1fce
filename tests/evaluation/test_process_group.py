"""Several processes, here threads, evaluate together and all get what one gets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbalign.errors import DataError
from cbalign.evaluation.process_group import ProcessGroup, each_once
from cbalign.evaluation.retrieval import RetrievalEvaluator
from cbalign.evaluation.sections.evaluations import RetrievalEvaluation

from .conftest import NumberedSource, TableEncoder

R = TypeVar("R")


@dataclass
class Room:
    """Where `size` threads wait for each other and show what they have."""

    size: int
    shown: dict[int, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.size)


@dataclass(frozen=True)
class Thread:
    rank: int
    room: Room

    @property
    def size(self) -> int:
        return self.room.size

    def collect(self, value: R) -> list[R]:
        self.room.shown[self.rank] = value
        self.room.barrier.wait(timeout=10)
        values = [self.room.shown[rank] for rank in range(self.size)]
        self.room.barrier.wait(timeout=10)
        return values  # type: ignore[return-value]


def together(size: int, work: Callable[[ProcessGroup], R]) -> list[R]:
    room = Room(size)
    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(work, [Thread(rank, room) for rank in range(size)]))


@given(items=st.lists(st.integers(), max_size=9), size=st.integers(1, 5))
def test_each_item_is_computed_once_and_known_to_all(items: list[int], size: int) -> None:
    computed: list[int] = []

    def compute(place: int) -> int:
        computed.append(place)
        return items[place] * 2

    results = together(size, lambda process_group: each_once(compute, range(len(items)), process_group))
    assert results == [[item * 2 for item in items]] * size
    assert sorted(computed) == list(range(len(items)))


@pytest.mark.parametrize("size", [2, 3, 8])  # 11 images in batches of 4 are 3 batches
@pytest.mark.parametrize("unreadable", [frozenset(), frozenset({1, 9}), frozenset({4, 5, 6, 7})])
def test_retrieval_is_that_of_one_process(
    world: tuple[TableEncoder, NumberedSource], section: RetrievalEvaluation, size: int, unreadable: frozenset[int]
) -> None:
    encoder, source = world
    source.unreadable = unreadable
    alone = RetrievalEvaluator(section).evaluate(encoder, source, corrupt_limit=0.5)
    pairs = sorted(encoder.matched)
    encoder.matched.clear()
    for results in together(
        size,
        lambda process_group: RetrievalEvaluator(section).evaluate(
            encoder, source, corrupt_limit=0.5, process_group=process_group
        ),
    ):
        for ours, theirs in zip(results, alone, strict=True):
            assert ours.to_json() == theirs.to_json()
    assert sorted(encoder.matched) == pairs, "every pair is matched by one process"


def test_the_limit_on_unreadable_images_is_that_of_all_together(
    world: tuple[TableEncoder, NumberedSource], section: RetrievalEvaluation
) -> None:
    encoder, source = world
    source.unreadable = frozenset({0, 4, 8})  # one in each process's share

    def refused(process_group: ProcessGroup) -> str:
        with pytest.raises(DataError) as caught:
            RetrievalEvaluator(section).evaluate(encoder, source, corrupt_limit=0.2, process_group=process_group)
        return caught.value.message

    assert len({message.partition(";")[0] for message in together(3, refused)}) == 1
