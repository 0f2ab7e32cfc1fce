"""The official VQA accuracy, and exact match for questions with a single right answer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cbalign.evaluation.answers import clean, normalise_answer


def vqa_accuracy(answer: str, annotators: Sequence[str]) -> float:
    """Official accuracy of one answer, in [0, 1]: min(1, #{others who said so} / 3), averaged over leaving one out.

    With ten annotators that is the average over all subsets of nine. Where all annotators wrote the same, the answer is
    compared as it is; else both sides are normalised.

    Args:
        answer: the model's.
        annotators: one answer of each, at least two.
    """
    answer, given = clean(answer), [clean(one) for one in annotators]
    if len(set(given)) > 1:
        answer, given = normalise_answer(answer), [normalise_answer(one) for one in given]
    same = given.count(answer)
    left_out = (min(1.0, (same - (one == answer)) / 3) for one in given)
    return sum(left_out) / len(given)


def exact_match(answer: str, right: str) -> float:
    """Return 1 if an answer is right, else 0; both are normalised as in the VQA evaluation."""
    return float(normalise_answer(answer) == normalise_answer(right))


@dataclass(frozen=True)
class Share:
    """A mean accuracy in per cent, with the number of questions."""

    accuracy: float
    questions: int


def accuracy_by_kind(scores: Iterable[float], kinds: Iterable[str]) -> dict[str, Share]:
    """Mean accuracy of the questions of each kind, by kind in alphabetical order.

    Args:
        scores: of each question, in [0, 1].
        kinds: of each question: its answer type or question type.
    """
    sums: defaultdict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    for score, kind in zip(scores, kinds, strict=True):
        sums[kind] += score
        counts[kind] += 1
    return {kind: Share(100 * sums[kind] / counts[kind], counts[kind]) for kind in sorted(counts)}
