"""The `task` section: what is learned; and `init`: the trained model that it starts from."""

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
    """A trained model to start from: a run, or a checkpoint. Its tokenizer is used, heads that it lacks are new."""

    run: str | None = setting(
        None,
        effect=Effect.INITIALISATION,
        path="file or folder",
        help="A run's folder, or `runs/latest`; its newest checkpoint is read.",
    )
    checkpoint: str | None = setting(
        None,
        effect=Effect.INITIALISATION,
        path="file or folder",
        help="A folder `checkpoints/step-N` of a run, or a file of ALBEF's published form.",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> InitSection:
        if (self.run is None) == (self.checkpoint is None):
            raise RuleError("init names either a run or a checkpoint", at=("checkpoint", "run"))
        return self
