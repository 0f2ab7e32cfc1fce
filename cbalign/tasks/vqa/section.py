"""The task and its evaluation in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, EvaluationSection, ItemKind, TaskSection, setting
from cbalign.parts.kinds import Split

ARCHITECTURE = Effect.ARCHITECTURE
AnswerProtocol = Literal["rank", "generate"]


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


class VQAEvaluation(EvaluationSection):
    """How right answers are: the official VQA accuracy, exact match where one person answered."""

    builds = "cbalign.tasks.vqa.metric:VQAEvaluator"

    kind: Literal["vqa"] = setting(effect=Effect.EVALUATION, help="Which evaluation.")
    on: Split = setting("validation", effect=Effect.EVALUATION, help="Which split.")
    protocols: tuple[AnswerProtocol, ...] = setting(
        ("rank",),
        min_length=1,
        effect=Effect.EVALUATION,
        help="`rank`: the likeliest answer of a closed list; `generate`: greedy decoding.",
        paper="rank (ALBEF)",
    )
    top_k: int = setting(
        128,
        ge=1,
        effect=Effect.EVALUATION,
        help="Answers that `rank` scores whole, by their first token.",
        paper="128 (ALBEF)",
    )
    max_tokens: int = setting(10, ge=1, effect=Effect.EVALUATION, help="Longest answer that `generate` writes.")
    bootstrap: int = setting(1000, ge=0, effect=Effect.EVALUATION, help="Resamples for the 95 % intervals; 0: none.")
    batch_size: int = setting(64, ge=1, effect=Effect.RUNTIME, help="Questions per forward pass.")

    @property
    def measured(self) -> frozenset[str]:
        """The protocols."""
        return frozenset(self.protocols)

    def counts(self, name: str, measured: frozenset[str]) -> bool:
        """`top_k` where both sides rank, `max_tokens` where both generate."""
        needs = {"top_k": "rank", "max_tokens": "generate"}
        return name != "bootstrap" and (name not in needs or needs[name] in measured)
