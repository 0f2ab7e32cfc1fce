"""Find the largest batch that fits into a GPU's memory, by bisection over steps on fake tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cbalign.errors import UsageError
from cbalign.lab.plan.gpus import GPU
from cbalign.lab.plan.plan import Planner, TrainingPlan

LARGEST = 2**16
MULTIPLE = 8  # efficient for tensor cores


@dataclass(frozen=True)
class Fit:
    """The largest batch that fits a GPU.

    Args:
        gpu: the GPU.
        batch_size: pairs per device; None if not even the smallest batch fits.
        plan: the plan for `batch_size`, or for the smallest batch if none fits.
        limit: what prevents a larger batch.
        next_batch_size, next_bytes: the next larger batch and its memory, if memory is the limit.
    """

    gpu: GPU
    batch_size: int | None
    plan: TrainingPlan
    limit: str
    next_batch_size: int | None = None
    next_bytes: int | None = None

    def to_json(self) -> dict[str, object]:
        """Return the result as plain data, without the plan."""
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
    """Find the largest `train.batch_size` that does not change the optimiser's batch.

    If the spec sets a global batch, its divisors are tried: fewer micro-batches are accumulated, and negatives come
    from more pairs. Otherwise, the optimiser's batch grows with the batch of a device, in multiples of 8, up to the
    length of the queues and the size of the data.

    Args:
        planner: the planner of the spec.
        gpu: the GPU that the batch has to fit.
        others: further GPUs of the plan.

    Raises:
        UsageError: the global batch is not a multiple of the number of devices.
        CbalignError: the training cannot be planned.
    """
    candidates, limit = _candidates(planner)
    plans: dict[int, TrainingPlan] = {}

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
    """Return the position of the last candidate that fits, or -1."""
    low, high = -1, len(candidates)  # the candidate at low fits, the one at high does not
    while high - low > 1:
        middle = (low + high) // 2
        if fits(candidates[middle]):
            low = middle
        else:
            high = middle
    return low


def _candidates(planner: Planner) -> tuple[list[int], str]:
    """Return batch sizes in ascending order, and what limits them."""
    devices, total = planner.devices, planner.experiment.train.global_batch_size
    bounds: list[tuple[int, str]] = []
    if total is not None:
        if total % devices:
            raise UsageError(
                f"train.global_batch_size {total} is not a multiple of {devices} devices.",
                remedy=f"Set it to {max(1, round(total / devices)) * devices}, or change `devices=…`.",
            )
        bounds.append((total // devices, f"train.global_batch_size {total:,}: one micro-batch per step"))
    if queue := planner.experiment.model.queue.length:
        bounds.append(
            (queue // devices, f"model.queue.length {queue:,}: a larger batch would overwrite its own queue entries")
        )
    if planner.pairs is not None:
        bounds.append((planner.pairs // devices, f"the training data have {planner.pairs:,} pairs"))
    bounds.append((LARGEST, f"{LARGEST:,} pairs is the largest batch that is tried"))
    largest, limit = min(bounds, key=lambda bound: bound[0])
    if total is not None:
        sizes = [size for size in range(1, total // devices + 1) if total // devices % size == 0]
    else:
        sizes = [1, 2, 4, *range(MULTIPLE, LARGEST + 1, MULTIPLE)]
    return [size for size in sizes if size <= largest] or [1], limit
