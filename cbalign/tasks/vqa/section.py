"""The task in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, ItemKind, TaskSection, setting

ARCHITECTURE = Effect.ARCHITECTURE


class VQATask(TaskSection):
    """Visual question answering: a decoder, with as many layers as the fusion encoder, says how likely an answer is."""

    builds = "cbalign.tasks.vqa.kit:Kit"
    runtime = "cbalign.tasks.vqa.runtime:Runtime"

    items: ClassVar[ItemKind] = "questions"
    evaluation: ClassVar[str] = "vqa"

    kind: Literal["vqa"] = setting(effect=ARCHITECTURE, help="Which task.")
    answer_list: str | None = setting(
        None,
        effect=Effect.EVALUATION,
        path="file",
        help="JSON list of the answers that `rank` chooses from; null: those of the training data.",
        paper="answer_list.json (ALBEF)",
    )
    answer_minimum: int = setting(
        1,
        ge=1,
        effect=Effect.EVALUATION,
        help="A list made of the training data has the answers that are the most frequent one of so many questions.",
        paper="9 (VQA v2)",
    )
