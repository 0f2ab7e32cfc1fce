"""One optimiser step over several processes: a task's `step` as the forward pass that DDP or FSDP2 wraps."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, Literal

from torch import Tensor, nn
from torch.distributed.fsdp import register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from cbalign.engine.distribution import World
from cbalign.engine.sharding import Sharded
from cbalign.engine.task import BatchT, ParameterGroup, Progress, StepOutput, Task

Numbers = tuple[Tensor, Mapping[str, Tensor], Mapping[str, Tensor]]


class _TaskStep(nn.Module, Generic[BatchT]):
    """`task.step` as a module whose parameters are the task's model.

    A step may call parts of the model many times and in any order; DDP and FSDP2 only have to see one forward pass
    that ends in the losses, in containers that they can look into.
    """

    def __init__(self, task: Task[BatchT]) -> None:
        super().__init__()
        self.model = task.model
        self._step = task.step
        self._evaluate = task.evaluate

    def forward(self, batch: BatchT, progress: Progress) -> Numbers:
        output = self._step(batch, progress)
        return output.loss, dict(output.terms), dict(output.metrics)

    def evaluate(self, progress: Progress) -> Mapping[str, float]:
        return self._evaluate(progress)


class StepModule(Generic[BatchT]):
    """Calls `task.step` so that backward averages gradients over the processes.

    `groups` are what the optimiser is to move: with FSDP2 the model's parameters are replaced by sharded ones.
    """

    def __init__(
        self,
        task: Task[BatchT],
        world: World,
        groups: Sequence[ParameterGroup],
        parallel: Literal["ddp", "fsdp2"] = "ddp",
    ) -> None:
        self._plain = _TaskStep(task)
        self._parallel: DistributedDataParallel | None = None
        self._sharded: Sharded | None = None
        self.groups = groups
        if world.size == 1:
            return
        if parallel == "fsdp2":
            self._sharded = Sharded(self._plain, groups, world.device, world.size)
            self.groups = self._sharded.groups
            register_fsdp_forward_method(self._plain, "evaluate")
            return
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
        return StepOutput(*(self._parallel or self._plain)(batch, progress))

    def evaluate(self, progress: Progress) -> Mapping[str, float]:
        """`task.evaluate`, in which no process waits for another one's forward pass."""
        if self._sharded is None:
            return self._plain.evaluate(progress)
        with self._sharded.whole():
            return self._plain.evaluate(progress)

    @contextmanager
    def without_synchronisation(self) -> Iterator[None]:
        """Gradients of the passes inside may stay on their process until the next pass outside."""
        if self._parallel is None:
            yield
            return
        with self._parallel.no_sync():
            yield

    def complete_gradients(self) -> None:
        """After the last backward pass of a step: gradients are those of the global batch."""
        if self._sharded is not None:
            self._sharded.average_scalars()
