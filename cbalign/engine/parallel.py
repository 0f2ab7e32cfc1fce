"""One optimiser step over several processes: a task's `step` as the forward pass that DDP wraps."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cbalign.engine.distribution import World
from cbalign.engine.task import BatchT, Progress, StepOutput, Task


class _TaskStep(nn.Module, Generic[BatchT]):
    """`task.step` as a module whose parameters are the task's model.

    A step may call parts of the model many times and in any order; DDP only has to see one forward pass that ends in
    the losses.
    """

    def __init__(self, task: Task[BatchT]) -> None:
        super().__init__()
        self.model = task.model
        self._step = task.step

    def forward(self, batch: BatchT, progress: Progress) -> StepOutput:
        return self._step(batch, progress)


class StepModule(Generic[BatchT]):
    """Calls `task.step` so that backward averages gradients over the processes."""

    def __init__(self, task: Task[BatchT], world: World) -> None:
        self._plain = _TaskStep(task)
        self._parallel: DistributedDataParallel | None = None
        if world.size > 1:
            with warnings.catch_warnings():
                # torch 2.15 renamed broadcast_buffers; the new name is unknown to older ones.
                warnings.simplefilter("ignore", FutureWarning)
                self._parallel = DistributedDataParallel(
                    self._plain,
                    broadcast_buffers=False,  # queues are filled from the global batch: equal on all ranks
                    find_unused_parameters=True,  # frozen prototypes, heads of objectives that rest
                )

    def __call__(self, batch: BatchT, progress: Progress) -> StepOutput:
        """The losses of one micro-batch."""
        output: StepOutput = (self._parallel or self._plain)(batch, progress)
        return output

    @contextmanager
    def without_synchronisation(self) -> Iterator[None]:
        """Gradients of the passes inside stay on their process until the next pass outside."""
        if self._parallel is None:
            yield
            return
        with self._parallel.no_sync():
            yield
