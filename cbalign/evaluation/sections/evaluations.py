"""Kinds of evaluation in a spec."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, EvaluationSection, setting
from cbalign.parts.kinds import Split

Protocol = Literal["dual", "rerank", "code"]
AnswerProtocol = Literal["rank", "generate"]


class RetrievalEvaluation(EvaluationSection):
    """Image-text retrieval, both ways."""

    builds = "cbalign.evaluation.retrieval:RetrievalEvaluator"

    kind: Literal["retrieval"] = setting("retrieval", effect=Effect.EVALUATION, help="Which evaluation.")
    on: Split = setting("validation", effect=Effect.EVALUATION, help="Which split.")
    protocols: tuple[Protocol, ...] = setting(
        ("dual",),
        min_length=1,
        effect=Effect.EVALUATION,
        help="`dual`: cosine of embeddings; `rerank`: match scores of the top k; `code`: overlap of codes.",
    )
    top_k: int = setting(
        128,
        ge=1,
        effect=Effect.EVALUATION,
        help="Candidates that `rerank` scores per query.",
        paper="128 Flickr30k, 256 COCO (ALBEF)",
    )
    zero_shot: bool = setting(
        False,
        effect=Effect.EVALUATION,
        help="Call the result zero-shot; refused where the model, or one that it started from, was trained on this "
        "data set.",
    )
    bootstrap: int = setting(1000, ge=0, effect=Effect.EVALUATION, help="Resamples for the 95 % intervals; 0: none.")
    batch_size: int = setting(64, ge=1, effect=Effect.RUNTIME, help="Items per forward pass.")

    @property
    def measured(self) -> frozenset[str]:
        """The protocols."""
        return frozenset(self.protocols)

    @property
    def needs(self) -> dict[str, str]:
        """`rerank` needs match scores, `code` a codebook."""
        all_needs = {"rerank": "matching", "code": "codebook"}
        return {protocol: all_needs[protocol] for protocol in self.protocols if protocol in all_needs}

    def counts(self, name: str, measured: frozenset[str]) -> bool:
        """All settings but the resamples; `top_k` where both sides re-rank."""
        return name != "bootstrap" and (name != "top_k" or "rerank" in measured)


class AccuracyEvaluation(EvaluationSection):
    """How often a classifier is right (NLVR2, SNLI-VE), with its confusions, and consistency where texts repeat."""

    builds = "cbalign.evaluation.classification:AccuracyEvaluator"

    kind: Literal["accuracy"] = setting(effect=Effect.EVALUATION, help="Which evaluation.")
    on: Split = setting("validation", effect=Effect.EVALUATION, help="Which split.")
    bootstrap: int = setting(1000, ge=0, effect=Effect.EVALUATION, help="Resamples for the 95 % intervals; 0: none.")
    batch_size: int = setting(64, ge=1, effect=Effect.RUNTIME, help="Items per forward pass.")


class VQAEvaluation(EvaluationSection):
    """How right answers are: the official VQA accuracy, exact match where one person answered."""

    builds = "cbalign.evaluation.answering:VQAEvaluator"

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
