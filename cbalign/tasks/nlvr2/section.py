"""The task in a spec."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, ItemKind, TaskSection, setting

ARCHITECTURE = Effect.ARCHITECTURE


class NLVR2Task(TaskSection):
    """Is a statement about two images true? Fusion layers are doubled, one copy per image."""

    builds = "cbalign.tasks.nlvr2.kit:build_kit"
    runtime = "cbalign.tasks.nlvr2.runtime:Runtime"

    kind: Literal["nlvr2"] = setting(effect=ARCHITECTURE, help="Which task.")
    stage: Literal["statements", "text-assignment"] = setting(
        "statements",
        effect=ARCHITECTURE,
        help="`text-assignment` is the pretraining of the doubled layers before it: does a caption of `data.train`'s "
        "pairs belong to the first image, the second or neither? A second spec starts from its run.",
        paper="text-assignment for 1 epoch, then statements (ALBEF)",
    )

    @property
    def items(self) -> ItemKind:
        """What is trained on."""
        return "pairs" if self.stage == "text-assignment" else "statements"

    @property
    def evaluation(self) -> str:
        """The kind of evaluation that suits it; none is of the pretraining."""
        return "none" if self.stage == "text-assignment" else "accuracy"
