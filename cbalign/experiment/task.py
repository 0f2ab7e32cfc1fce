"""The `task` section, and `init`, the trained model to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import model_validator

from cbalign.experiment.unions import union
from cbalign.parts import Effect, RuleError, Section, TaskSection, setting
from cbalign.parts.registry import TASKS

if TYPE_CHECKING:
    Task = TaskSection
else:
    Task = union(TASKS)


class InitSection(Section):
    """A run or checkpoint to start from. Its tokenizer is used; heads that it lacks are initialised at random."""

    run: str | None = setting(
        None,
        effect=Effect.INITIALISATION,
        path="file or folder",
        help="Run folder, or `runs/latest`; its newest checkpoint is loaded.",
    )
    checkpoint: str | None = setting(
        None,
        effect=Effect.INITIALISATION,
        path="file or folder",
        help="Folder `checkpoints/step-N` of a run, or a checkpoint file in ALBEF's published format.",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> InitSection:
        if (self.run is None) == (self.checkpoint is None):
            raise RuleError("init must name either a run or a checkpoint", at=("checkpoint", "run"))
        return self
