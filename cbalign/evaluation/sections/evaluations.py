"""Evaluations in a spec of models that embed images and texts; other tasks define their own."""

from __future__ import annotations

from typing import Literal

from cbalign.parts import Effect, EvaluationSection, setting
from cbalign.parts.kinds import Split

METRICS = ("r1", "r5", "r10", "mean_rank", "median_rank")
RetrievalProtocol = Literal["dual", "rerank", "code", "dual+code"]


class RetrievalEvaluation(EvaluationSection):
    """Image-text retrieval in both directions."""

    builds = "cbalign.evaluation.retrieval:RetrievalEvaluator"

    kind: Literal["retrieval"] = setting("retrieval", effect=Effect.EVALUATION, help="Kind of evaluation.")
    on: Split = setting("validation", effect=Effect.EVALUATION, help="Split.")
    protocols: tuple[RetrievalProtocol, ...] = setting(
        ("dual",),
        min_length=1,
        unordered=True,
        effect=Effect.EVALUATION,
        help="`dual`: cosine of embeddings; `rerank`: match scores of the top k; `code`: overlap of codes; "
        "`dual+code`: the sum of both.",
    )
    top_k: int = setting(
        128,
        ge=1,
        le=1_000_000_000,
        effect=Effect.EVALUATION,
        help="Candidates that `rerank` scores per query.",
        paper="128 Flickr30k, 256 COCO (ALBEF)",
    )
    zero_shot: bool = setting(
        False,
        effect=Effect.EVALUATION,
        help="Report the result as zero-shot; rejected if the model, or one it was initialised from, was trained on "
        "this data set.",
    )
    bootstrap: int = setting(
        1000, ge=0, le=1_000_000, effect=Effect.EVALUATION, help="Resamples for the 95 % intervals; 0: none."
    )
    batch_size: int = setting(64, ge=1, le=1_000_000, effect=Effect.RUNTIME, help="Items per forward pass.")

    @property
    def measured(self) -> frozenset[str]:
        """Return the protocols."""
        return frozenset(self.protocols)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Return recalls and ranks of each protocol in both directions, diagnostics, and the use of the codebook."""
        directions = [f"{protocol}/{way}" for protocol in self.protocols for way in ("image_to_text", "text_to_image")]
        recalls = tuple(f"{each}/{name}" for each in directions for name in METRICS)
        codes = ("code/codebook/*",) if "code" in self.protocols else ()
        return (*recalls, *(f"{protocol}/diagnostics/*" for protocol in self.protocols), *codes)

    @property
    def needs(self) -> dict[str, str]:
        """Return the requirements: match scores for `rerank`, a codebook for `code` and `dual+code`."""
        all_needs = {"rerank": "matching", "code": "codebook", "dual+code": "codebook"}
        return {protocol: all_needs[protocol] for protocol in self.protocols if protocol in all_needs}

    @property
    def claims_zero_shot(self) -> bool:
        """Whether `zero_shot` is set."""
        return self.zero_shot

    def counts(self, name: str, measured: frozenset[str]) -> bool:
        """Whether a setting affects metrics: all except the resamples, and `top_k` only if both sides re-rank."""
        return name != "bootstrap" and (name != "top_k" or "rerank" in measured)
