"""The task in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ItemKind, TaskSection, setting

ARCHITECTURE = Effect.ARCHITECTURE


class EntailmentTask(TaskSection):
    """Does an image entail a text, contradict it, or neither? SNLI-VE."""

    builds = "cbalign.tasks.entailment.kit:Kit"
    runtime = "cbalign.tasks.entailment.runtime:Runtime"

    items: ClassVar[ItemKind] = "premises"
    evaluation: ClassVar[str] = "accuracy"

    kind: Literal["entailment"] = setting(effect=ARCHITECTURE, help="Which task.")
