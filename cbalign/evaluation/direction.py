"""In which direction a metric is better, by its name."""

from __future__ import annotations

from typing import Literal

Better = Literal["lower", "higher", "neither"]

_LOWER = frozenset({"rank", "loss", "error", "alignment", "uniformity", "ties"})
_NEITHER = frozenset({"gap", "optimistic", "confidence"})


def better(metric: str) -> Better:
    """Return which values of a metric are better, such as `lower` of `dual/image_to_text/mean_rank`.

    `neither` is what a description has that no model is better for, such as `dual/diagnostics/modality_gap`.
    """
    words = set(metric.lower().replace("_", "/").split("/"))
    if words & _NEITHER:
        return "neither"
    return "lower" if words & _LOWER else "higher"
