"""The largest batch of a device that fits into a GPU's memory, found by bisection over steps that compute nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cbalign.errors import UsageError
from cbalign.lab.plan.gpus import GPU
from cbalign.lab.plan.plan import Plan, Planner

LARGEST = 2**16
MULTIPLE = 8  # what tensor cores like


@dataclass(frozen=True)
class Fit:
    """The outcome. `plan` is of `batch_size`; of the smallest possible batch where not even that fits.

    `limit` says what keeps the batch from being larger, `next_bytes` the memory that the next larger one would take,
    where memory is the limit.
    """

    gpu: GPU
    batch_size: int | None
    plan: Plan
    limit: str
    next_batch_size: int | None = None
    next_bytes: int | None = None

    def to_json(self) -> dict[str, object]:
        """The same as plain data, without the plan."""
        return {
            "gpu": self.gpu.name,
            "batch_size": self.batch_size,
            "memory_bytes": self.plan.memory.total,
            "usable_bytes": self.gpu.usable,
            "limit": self.limit,
            "next_batch_size": self.next_batch_size,
            "next_memory_bytes": self.next_bytes,
        }


def fit_batch(planner: Planner, gpu: GPU, others: Sequence[GPU] = ()) -> Fit:
    """Find the largest `train.batch_size` that leaves the optimiser's batch as the spec has it.

    With a global batch its divisors are tried: less is accumulated, and negatives are drawn from more pairs at a
    time. Without one, the batch of a step grows with the batch of a device, in multiples of 8: up to the queues'
    length, and to the data.

    Args:
        planner: of the spec.
        gpu: what it has to fit into.
        others: GPUs that the plan tells about, too.

    Raises:
        UsageError: the global batch cannot be shared by that many devices.
        CbalignError: whatever planning raises.
    """
    candidates, limit = _candidates(planner)
    plans: dict[int, Plan] = {}

    def fits(size: int) -> bool:
        plans[size] = planner.plan((gpu, *others), batch_size=size)
        return plans[size].memory.total <= gpu.usable

    if fits(candidates[-1]):
        return Fit(gpu, candidates[-1], plans[candidates[-1]], limit)
    best = _last(candidates[:-1], fits)
    larger = candidates[best + 1]
    if best < 0:
        return Fit(gpu, None, plans[larger], "memory", larger, plans[larger].memory.total)
    return Fit(gpu, candidates[best], plans[candidates[best]], "memory", larger, plans[larger].memory.total)


def _last(candidates: Sequence[int], fits: Callable[[int], bool]) -> int:
    """The position of the last candidate that fits, -1 where none does."""
    low, high = -1, len(candidates)  # what is at low fits, what is at high does not
    while high - low > 1:
        middle = (low + high) // 2
        if fits(candidates[middle]):
            low = middle
        else:
            high = middle
    return low


def _candidates(planner: Planner) -> tuple[list[int], str]:
    """Batch sizes in rising order, and what keeps them from going on."""
    devices, total = planner.devices, planner.experiment.train.global_batch_size
    bounds: list[tuple[int, str]] = []
    if total is not None:
        if total % devices:
            raise UsageError(
                f"train.global_batch_size {total} is not a multiple of {devices} devices.",
                remedy=f"Set it to {max(1, round(total / devices)) * devices}, or change `devices=…`.",
            )
        bounds.append((total // devices, f"train.global_batch_size {total:,}: nothing is left to accumulate"))
    if queue := planner.experiment.model.queue.length:
        bounds.append((queue // devices, f"model.queue.length {queue:,}: more would push itself out of the queues"))
    if planner.pairs is not None:
        bounds.append((planner.pairs // devices, f"the training data are {planner.pairs:,} pairs"))
    bounds.append((LARGEST, f"{LARGEST:,} pairs is as far as is looked"))
    largest, limit = min(bounds, key=lambda bound: bound[0])
    if total is not None:
        sizes = [size for size in range(1, total // devices + 1) if total // devices % size == 0]
    else:
        sizes = [1, 2, 4, *range(MULTIPLE, LARGEST + 1, MULTIPLE)]
    return [size for size in sizes if size <= largest] or [1], limit
