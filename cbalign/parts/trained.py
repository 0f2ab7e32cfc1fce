"""How much of a tower is trained: all of it, its last blocks, or nothing."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from cbalign.parts.part import Part
from cbalign.parts.section import Effect, setting

TRAINING = Effect.TRAINING


class TrainedSection(Part):
    """The base of the choices.

    `builds` is called with (section, `cbalign.models.tower.Tower`, the setting of the tower in messages) and decides
    which of its parameters require gradients; it returns nothing.
    """

    freezes: ClassVar[bool] = False
    """Whether the whole tower stays as it is, so that its features can be computed once."""


class TrainAll(TrainedSection):
    """The whole tower is trained."""

    builds = "cbalign.models.trained:train_all"

    kind: Literal["all"] = setting("all", effect=TRAINING, help="The whole tower is trained.")


class TrainNothing(TrainedSection):
    """The tower is frozen: no gradient, no optimiser state, always in evaluation mode; student and teacher share it."""

    builds = "cbalign.models.trained:freeze"
    freezes = True

    kind: Literal["frozen"] = setting(effect=TRAINING, help="The tower stays as it was initialised.")


class TrainLast(TrainedSection):
    """The last blocks of the tower, and what follows them, are trained; all before them is frozen."""

    builds = "cbalign.models.trained:train_last"

    kind: Literal["last"] = setting(effect=TRAINING, help="Only the last blocks are trained.")
    blocks: int = setting(effect=TRAINING, ge=1, help="Number of blocks to train, counted from the output.")


Trained = Annotated[TrainAll | TrainNothing | TrainLast, Field(discriminator="kind")]
