"""One optimiser step over several processes: a learner's `step` as the forward pass that DDP or FSDP2 wraps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, Literal

from torch import Tensor, nn
from torch.distributed.fsdp import register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from cbalign.engine.distribution import World
from cbalign.engine.sharding import Sharded
from cbalign.engine.task import BatchT, Learner, Progress, StepOutput, require_scalar
from cbalign.parts.results import require_type

Numbers = tuple[Tensor, Mapping[str, Tensor], Mapping[str, Tensor]]


Evaluate = Callable[[Progress], Mapping[str, float]]


class _LearnerStep(nn.Module, Generic[BatchT]):
    """`learner.step` as a module whose parameters are those of the learner's model.

    A step may call parts of the model many times and in any order; DDP and FSDP2 only have to see one forward pass
    that ends in the losses, in containers that they can look into.
    """

    def __init__(self, learner: Learner[BatchT]) -> None:
        super().__init__()
        self.model = learner.model
        self._learner = (learner,)  # in a tuple, because a learner may be a module whose parameters are the model's

    def forward(self, batch: BatchT, progress: Progress) -> Numbers:
        output = self._learner[0].step(batch, progress)
        require_type(self._learner[0], "step", output, StepOutput)
        for name, value in (("the loss", output.loss), *output.terms.items(), *output.metrics.items()):
            require_scalar(self._learner[0], "step", name, value)
        return output.loss, dict(output.terms), dict(output.metrics)

    def evaluate(self, evaluate: Evaluate, progress: Progress) -> Mapping[str, float]:
        return evaluate(progress)


class StepModule(Generic[BatchT]):
    """Calls `learner.step` so that backward averages gradients over the processes.

    `groups` are the optimiser's: FSDP2 replaces the parameters of the model by sharded ones.
    """

    def __init__(
        self,
        learner: Learner[BatchT],
        world: World,
        parallel: Literal["ddp", "fsdp2"] = "ddp",
    ) -> None:
        groups = learner.parameter_groups()
        self._plain = _LearnerStep(learner)
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
        """Compute the losses of one micro-batch."""
        return StepOutput(*(self._parallel or self._plain)(batch, progress))

    def evaluate(self, evaluate: Evaluate, progress: Progress) -> Mapping[str, float]:
        """Call `evaluate` so that its forward passes do not wait for other processes."""
        if self._sharded is None:
            return self._plain.evaluate(evaluate, progress)
        with self._sharded.whole():
            return self._plain.evaluate(evaluate, progress)

    @contextmanager
    def without_synchronisation(self) -> Iterator[None]:
        """Keep gradients of the passes inside on their process until the next pass outside."""
        if self._parallel is None:
            yield
            return
        with self._parallel.no_sync():
            yield

    def complete_gradients(self) -> None:
        """Turn gradients into those of the global batch, after the last backward pass of a step."""
        if self._sharded is not None:
            self._sharded.average_scalars()
