"""NLVR2 in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ItemKind, TaskSection, setting

ARCHITECTURE = Effect.ARCHITECTURE


class NLVR2Task(TaskSection):
    """NLVR2: whether a statement about two images is true. Fusion layers are doubled, one copy per image."""

    builds = "cbalign.tasks.nlvr2.kit:build_kit"
    runtime = "cbalign.tasks.nlvr2.runtime:NLVR2Runtime"

    graphs: ClassVar[tuple[str, ...]] = ("classify",)

    kind: Literal["nlvr2"] = setting(effect=ARCHITECTURE, help="Task.")
    stage: Literal["statements", "text-assignment"] = setting(
        "statements",
        effect=ARCHITECTURE,
        help="`text-assignment` pretrains the doubled layers: whether a caption from `data.train` belongs to the first "
        "image, the second or neither. A second spec then starts from its run.",
        paper="text-assignment for 1 epoch, then statements (ALBEF)",
    )

    @property
    def items(self) -> ItemKind:
        """The kind of training items."""
        return "pairs" if self.stage == "text-assignment" else "statements"

    @property
    def text_nouns(self) -> tuple[str, str]:
        """What a text of the training items is called."""
        return ("caption", "captions") if self.stage == "text-assignment" else ("statement", "statements")

    @property
    def evaluation(self) -> str:
        """The kind of evaluation; `none` for the pretraining."""
        return "none" if self.stage == "text-assignment" else "accuracy"
