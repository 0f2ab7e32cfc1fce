"""The checkpoints that a training keeps: the newest ones and the best, and the one that it resumes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from torch.optim import Optimizer

from cbalign.engine.averages import Averages
from cbalign.engine.checkpoint import TrainingState, load_checkpoint, save_checkpoint, set_aside
from cbalign.engine.checkpoint_folder import checkpoint_steps, list_checkpoints
from cbalign.engine.distribution import World
from cbalign.engine.run_log import RunLog
from cbalign.engine.step_schedule import StepSchedule
from cbalign.errors import DamagedCheckpointError
from cbalign.experiment.training import TrainSection
from cbalign.parts.metrics import Criterion


@dataclass(frozen=True)
class KeptCheckpoints:
    """The checkpoints of one training. All of its processes call each method together.

    Args:
        folder: the run's folder of checkpoints.
        model, optimizer: what is saved and loaded.
        steps: the steps of the training.
        train: the spec's `train` section, which says how many are kept and what is best.
        world: the processes that train together.
        run_log: knows the evaluations.
        note: reports a damaged checkpoint.
    """

    folder: Path
    model: nn.Module
    optimizer: Optimizer
    steps: StepSchedule
    train: TrainSection
    world: World
    run_log: RunLog
    note: Callable[[str], None]

    def load_newest(self) -> TrainingState | None:
        """Load the newest checkpoint that is intact; damaged newer ones are set aside and reported.

        Returns:
            None if there is no checkpoint.

        Raises:
            DamagedCheckpointError: all are damaged.
            CheckpointError: the checkpoint belongs to another model.
        """
        checkpoints = self.world.share(list_checkpoints(self.folder))
        damaged: list[Path] = []
        for checkpoint in reversed(checkpoints):
            state, damage = None, None
            try:
                state = load_checkpoint(checkpoint, self.model, self.optimizer)
            except DamagedCheckpointError as error:
                damage = error
            found = next((each for each in self.world.collect(damage) if each is not None), None)
            if found is None:
                if self.world.is_main:
                    set_aside(damaged)
                return state
            if checkpoint == checkpoints[0]:
                raise found  # nothing is left to fall back to
            damaged.append(checkpoint)
            self.note(f"falling back to the checkpoint before {checkpoint.name}: {found.message}")
        return None

    def save(self, step: int, averages: Averages) -> Path:
        """Write the checkpoint after `step` steps and remove those that are no longer kept.

        Args:
            step: completed steps.
            averages: of the numbers since the last log line; their means over all processes replace them.
        """
        state = TrainingState.of(step, self.steps, averages.reduce(self.world).totals())
        self.run_log.sync()
        path = save_checkpoint(
            self.folder,
            state,
            self.model,
            self.optimizer,
            keep=self.train.keep_checkpoints,
            best=self._best_step(step),
            writes=self.world.is_main,
        )
        self.world.barrier()
        return path

    def save_best(self, step: int, metrics: Mapping[str, float], averages: Averages) -> None:
        """Write a checkpoint if the evaluation after `step` steps is the best by `keep_best`.

        Raises:
            UsageError: there is no such metric.
        """
        if self.train.keep_best is not None:
            Criterion.of(self.train.keep_best, metrics)
            if self._best_step(step) == step:
                self.save(step, averages)

    def _best_step(self, step: int) -> int | None:
        """The step of the best evaluation by `keep_best`, among `step` and those that have a checkpoint."""
        word = self.train.keep_best
        return None if word is None else self.run_log.best(word, {step, *checkpoint_steps(self.folder)})
