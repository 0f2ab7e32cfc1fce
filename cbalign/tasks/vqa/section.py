"""The task and its evaluation in a spec."""

from __future__ import annotations

from typing import ClassVar, Literal

from cbalign.parts import Effect, EvaluationSection, ItemKind, TaskSection, setting
from cbalign.parts.kinds import Split

ARCHITECTURE = Effect.ARCHITECTURE
AnswerProtocol = Literal["rank", "generate"]
METRIC_OF: dict[AnswerProtocol, str] = {"rank": "accuracy", "generate": "generated_accuracy"}


class VQATask(TaskSection):
    """Visual question answering: a decoder with as many layers as the fusion encoder scores or generates answers."""

    builds = "cbalign.tasks.vqa.kit:VQAKit"
    runtime = "cbalign.tasks.vqa.runtime:VQARuntime"

    items: ClassVar[ItemKind] = "questions"
    text_nouns: ClassVar[tuple[str, str]] = ("question", "questions")
    evaluation: ClassVar[str] = "vqa"
    graphs: ClassVar[tuple[str, ...]] = ("vision", "question", "answer")

    kind: Literal["vqa"] = setting(effect=ARCHITECTURE, help="Task.")
    answer_list: str | None = setting(
        None,
        effect=Effect.EVALUATION,
        path="file",
        help="JSON list of candidate answers for `rank`; null: the answers in the training data.",
        paper="answer_list.json (ALBEF)",
    )
    answer_minimum: int = setting(
        1,
        ge=1,
        le=1_000_000_000,
        effect=Effect.EVALUATION,
        help="Minimum number of training questions with the same most frequent answer to include it in a built list.",
        paper="9 (VQA v2)",
    )


class VQAEvaluation(EvaluationSection):
    """The official VQA accuracy; exact match for questions with a single annotator."""

    builds = "cbalign.tasks.vqa.metric:VQAEvaluator"

    kind: Literal["vqa"] = setting(effect=Effect.EVALUATION, help="Kind of evaluation.")
    on: Split = setting("validation", effect=Effect.EVALUATION, help="Split.")
    protocols: tuple[AnswerProtocol, ...] = setting(
        ("rank",),
        min_length=1,
        unordered=True,
        effect=Effect.EVALUATION,
        help="`rank`: the most likely answer of a closed list; `generate`: greedy decoding.",
        paper="rank (ALBEF)",
    )
    top_k: int = setting(
        128,
        ge=1,
        le=1_000_000_000,
        effect=Effect.EVALUATION,
        help="Number of candidates, preselected by their first token, that `rank` scores in full.",
        paper="128 (ALBEF)",
    )
    max_tokens: int = setting(
        10, ge=1, le=10_000, effect=Effect.EVALUATION, help="Maximum answer length of `generate` in tokens."
    )
    bootstrap: int = setting(
        1000, ge=0, le=1_000_000, effect=Effect.EVALUATION, help="Resamples for the 95 % intervals; 0: none."
    )
    batch_size: int = setting(64, ge=1, le=1_000_000, effect=Effect.RUNTIME, help="Questions per forward pass.")

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Return the accuracy of each protocol, over all questions and over those of each answer type."""
        return tuple(name for each in self.protocols for name in (METRIC_OF[each], f"{METRIC_OF[each]}_*"))

    @property
    def measured(self) -> frozenset[str]:
        """Return the protocols."""
        return frozenset(self.protocols)

    def counts(self, name: str, measured: frozenset[str]) -> bool:
        """Whether a setting affects metrics: `top_k` only if both sides rank, `max_tokens` only if both generate."""
        needs = {"top_k": "rank", "max_tokens": "generate"}
        return name != "bootstrap" and (name not in needs or needs[name] in measured)
