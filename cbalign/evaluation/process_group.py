"""Work shared between processes: each item is computed by one process, and all get the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

I = TypeVar("I")  # noqa: E741 (an item)
R = TypeVar("R")


class ProcessGroup(Protocol):
    """The processes that evaluate one model together; `cbalign.engine.distribution.World` is an example."""

    @property
    def rank(self) -> int:
        """The rank of this process."""

    @property
    def size(self) -> int:
        """The number of processes."""

    def collect(self, value: R) -> list[R]:
        """Every process's `value`, by rank, on every process."""


@dataclass(frozen=True)
class SingleProcess:
    """A single process."""

    rank: int = 0
    size: int = 1

    def collect(self, value: R) -> list[R]:
        """The value itself."""
        return [value]


SINGLE_PROCESS = SingleProcess()


def each_once(compute: Callable[[I], R], items: Sequence[I], process_group: ProcessGroup) -> list[R]:
    """`compute` of each item, in order, on every process; each is computed by one process only.

    Items go round: process r takes r, r + size, r + 2·size, …, so that shares differ by one at most. What is computed
    must not itself need all processes, because they may have unequally many items.
    """
    mine = [compute(item) for item in items[process_group.rank :: process_group.size]]
    shares = process_group.collect(mine)
    return [shares[i % process_group.size][i // process_group.size] for i in range(len(items))]
