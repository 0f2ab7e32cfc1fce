"""How much of a tower is trained: all of it, its last blocks, adapters, or nothing."""

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
    blocks: int = setting(effect=TRAINING, ge=1, le=1_000, help="Number of blocks to train, counted from the output.")


class TrainAdapters(TrainedSection):
    """The tower is frozen, except for low-rank adapters in the linear layers of its blocks (LoRA)."""

    builds = "cbalign.models.adapters:add_adapters"

    kind: Literal["lora"] = setting(effect=TRAINING, help="Only low-rank adapters are trained; needs the extra `lora`.")
    rank: int = setting(
        8, ge=1, le=1_048_576, effect=Effect.ARCHITECTURE, help="Rank r of the adapters.", paper="4 to 8 (LoRA)"
    )
    alpha: float | None = setting(
        None, gt=0, effect=TRAINING, help="Scale α: the adapters' output counts α/r times; null: α = 2 r."
    )
    dropout: float = setting(0.0, ge=0, lt=1, effect=TRAINING, help="Dropout in front of the adapters.")
    targets: tuple[str, ...] | None = setting(
        None,
        unordered=True,
        effect=Effect.ARCHITECTURE,
        help="Names of the linear layers that get adapters, such as `query` or `qkv`; null: all in the blocks.",
    )

    @property
    def scale_numerator(self) -> float:
        """The scale α."""
        return 2.0 * self.rank if self.alpha is None else self.alpha


Trained = Annotated[TrainAll | TrainNothing | TrainLast | TrainAdapters, Field(discriminator="kind")]
