"""The evaluation of models that embed images and texts; tasks define their own in their folders."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, EvaluationSection, setting
from cbalign.parts.kinds import Split

Protocol = Literal["dual", "rerank", "code"]


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

    @property
    def claims_zero_shot(self) -> bool:
        """Whether `zero_shot` is set."""
        return self.zero_shot

    def counts(self, name: str, measured: frozenset[str]) -> bool:
        """All settings but the resamples; `top_k` where both sides re-rank."""
        return name != "bootstrap" and (name != "top_k" or "rerank" in measured)
