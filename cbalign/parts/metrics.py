"""Names of metrics: choose metrics by name, and judge which of two values is better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from cbalign.errors import UsageError

Better = Literal["lower", "higher", "neither"]

_LOWER = frozenset({"rank", "loss", "error", "alignment", "uniformity", "ties"})
_NEITHER = frozenset({"gap", "optimistic", "confidence"})
_SHOWN = 30  # names in a message


def better(metric: str) -> Better:
    """Return which values of a metric are better, such as `lower` of `dual/image_to_text/mean_rank`.

    `neither` is what a description has that no model is better for, such as `dual/diagnostics/modality_gap`.
    """
    words = set(metric.lower().replace("_", "/").split("/"))
    if words & _NEITHER:
        return "neither"
    return "lower" if words & _LOWER else "higher"


def smaller_is_better(metric: str) -> bool:
    """Whether smaller values of a metric are better, judged by its name."""
    return better(metric) == "lower"


def is_better(metric: str, one: float, other: float) -> bool:
    """Whether `one` is better than `other`; never for a metric of which neither direction is better."""
    wanted = better(metric)
    return wanted != "neither" and (one < other if wanted == "lower" else one > other)


def matching(metrics: Iterable[str], word: str) -> list[str]:
    """Return the metrics that a word means: by name, end of the name (`r1`, `image_to_text/r1`) or pattern with `*`."""
    return [name for name in metrics if name == word or name.endswith(f"/{word}") or fnmatchcase(name, word)]


def may_match(names: Iterable[str], word: str) -> bool:
    """Whether a word can mean one of some metrics, whose names may themselves have a `*`."""
    known = list(names)
    ends = [name.partition("/")[2] for name in known]
    return bool(matching(known, word)) or any(fnmatchcase(word, name) for name in (*known, *ends) if "*" in name)


def no_such_metric(word: str, metrics: Sequence[str]) -> UsageError:
    """Say that no metric matches a word, and list those that there are."""
    more = f" and {len(metrics) - _SHOWN} more" if len(metrics) > _SHOWN else ""
    listed = f"The metrics are {', '.join(metrics[:_SHOWN])}{more}."
    return UsageError(f"There is no metric {word!r}.", remedy=listed if metrics else "Nothing was measured.")


@dataclass(frozen=True)
class Criterion:
    """What makes a checkpoint the best: one metric, or the mean of those that a pattern matches."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, word: str, metrics: Iterable[str]) -> Criterion:
        """Find the metrics that a word means.

        Raises:
            UsageError: there is none, or there are several and the word is not a pattern with `*`, or of some of them
                smaller values are better and of others larger.
        """
        known = list(metrics)
        found = [word] if word in known else matching(known, word)
        if not found:
            raise no_such_metric(word, known)
        if len(found) > 1 and "*" not in word:
            raise UsageError(
                f"{word!r} is the end of {len(found)} metrics: {', '.join(found)}.",
                remedy=f"Give more of the name, or compare their mean with '*/{word}'.",
            )
        directions = {better(name) for name in found}
        if "neither" in directions:
            raise UsageError(f"No values of {word!r} are better than others.", remedy="Choose another metric.")
        if len(directions) > 1:
            raise UsageError(
                f"{word!r} matches metrics of which smaller values are better and others of which larger ones are: "
                f"{', '.join(found)}.",
                remedy="Choose a pattern that matches one kind.",
            )
        return cls(tuple(found))

    def value(self, metrics: Mapping[str, float]) -> float:
        """Return the mean of the metrics; NaN where one of them is missing."""
        return math.fsum(metrics.get(name, math.nan) for name in self.names) / len(self.names)

    def best(self, evaluations: Mapping[int, Mapping[str, float]]) -> tuple[int, float] | None:
        """Return the step with the best value, the first of equal ones; None if no value is finite.

        Args:
            evaluations: metrics by step.
        """
        best: tuple[int, float] | None = None
        for step in sorted(evaluations):
            value = self.value(evaluations[step])
            if math.isfinite(value) and (best is None or is_better(self.names[0], value, best[1])):
                best = step, value
        return best
