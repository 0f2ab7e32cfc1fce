"""Visual entailment in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ItemKind, TaskSection, setting

ARCHITECTURE = Effect.ARCHITECTURE


class EntailmentTask(TaskSection):
    """Visual entailment (SNLI-VE): whether an image entails a text, contradicts it, or neither."""

    builds = "cbalign.tasks.entailment.kit:EntailmentKit"
    runtime = "cbalign.tasks.entailment.runtime:EntailmentRuntime"

    items: ClassVar[ItemKind] = "premises"
    text_nouns: ClassVar[tuple[str, str]] = ("hypothesis", "hypotheses")
    evaluation: ClassVar[str] = "accuracy"
    graphs: ClassVar[tuple[str, ...]] = ("classify",)

    kind: Literal["entailment"] = setting(effect=ARCHITECTURE, help="Task.")
