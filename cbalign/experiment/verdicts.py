"""Verdicts on two experiments: whether weights load, a run resumes, metrics compare and a bundle can be replaced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from cbalign.experiment.derived import NOTHING, Known
from cbalign.experiment.diff import Comparison, Difference, by_name
from cbalign.experiment.fitting import misfits, summarise_misfits
from cbalign.parts.section import Effect

VerdictAnswer = Literal["yes", "partly", "no"]

_ANOTHER_TRAINING = (Effect.ARCHITECTURE, Effect.INITIALISATION, Effect.DATA, Effect.TRAINING)


@dataclass(frozen=True)
class Verdict:
    """A question, its answer and the reason; `details` has one line per item that the reason summarises."""

    question: str
    answer: VerdictAnswer
    reason: str
    details: tuple[str, ...] = ()


def verdicts(
    comparison: Comparison, known: Sequence[Known] = (NOTHING, NOTHING), surroundings: Sequence[Difference] = ()
) -> list[Verdict]:
    """Return the verdicts on two experiments, A and B in the order of the comparison.

    Args:
        comparison: all differences between the specs.
        known: facts about each experiment beyond its spec.
        surroundings: differences between two runs or bundles beyond their specs.

    Raises:
        ValueError: not two.
    """
    if len(comparison.experiments) != 2:
        raise ValueError("verdicts are about two experiments")
    return [
        _weights(comparison, known),
        _resumable(comparison),
        _comparable(comparison, surroundings),
        _bundle(comparison, surroundings),
    ]


def _weights(comparison: Comparison, known: Sequence[Known]) -> Verdict:
    question = "weights of A load in B"
    before, after = (each.tensors for each in known)
    if before is None or after is None:
        return _weights_by_setting(comparison, question, [each.no_tensors for each in known])
    assumed = any(each.largest_vocabulary is not None for each in known)
    caveat = "; assuming that both vocabularies, trained on the captions, have the same size" if assumed else ""
    found, total = misfits(before, after), len(after.tensors)
    if not found:
        return Verdict(question, "yes", f"the same {total:,} tensors{caveat}")
    fitting = total - sum(misfit.after is not None for misfit in found)
    reason = f"{fitting:,} of B's {total:,} tensors; not loaded: {summarise_misfits(found)}{caveat}"
    details = tuple(f"{misfit.kind}: {misfit}" for misfit in found)
    return Verdict(question, "partly" if fitting else "no", reason, details)


def _weights_by_setting(comparison: Comparison, question: str, reasons: Sequence[str]) -> Verdict:
    """Return the verdict from the changed settings, if the tensors cannot be listed."""
    changed = comparison.by_effect.get(Effect.ARCHITECTURE, ())
    if not changed:
        return Verdict(question, "yes", "no architecture setting differs")
    why = next((reason for reason in reasons if reason), "they are not recorded")
    reason = f"cannot list tensors: {why}; changed: {_named(changed)}"
    return Verdict(question, "partly", reason, _paths(changed))


def _resumable(comparison: Comparison) -> Verdict:
    question = "a run of A resumes as B"
    changed = [d for d in comparison.differences if d.effect in _ANOTHER_TRAINING]
    if changed:
        return Verdict(question, "no", f"the training differs: {_named(changed)}", _paths(changed))
    kept = [d for d in comparison.differences if d.effect is not Effect.RUNTIME]
    if kept:
        reason = f"the training is the same, but the run keeps its own {_named(kept)}"
        return Verdict(question, "partly", reason, _paths(kept))
    return Verdict(question, "yes", "the training is the same")


def _comparable(comparison: Comparison, surroundings: Sequence[Difference]) -> Verdict:
    """Metrics are comparable if both measure the same on the same data; metrics of only one side are ignored."""
    question = "numbers of A and B compare"
    first, second = ({n: x.evaluate[i] for n, i in by_name(x.evaluate).items()} for x in comparison.experiments)
    common = [key for key in first if key in second]
    spoiled: list[Difference] = []
    partly: list[Difference] = []
    for evaluation in common:
        a, b = first[evaluation], second[evaluation]
        protocols, split = a.measured & b.measured, a.on if a.own_data is None else None
        spoiled.extend(d for d in surroundings if d.path == f"run.data[{split}]")
        for difference in comparison.by_effect.get(Effect.EVALUATION, ()):
            place, _, name = difference.path.rpartition(".")
            if difference.path == f"data.{split}" or place == f"data.{split}":
                spoiled.append(difference)
            elif place == f"evaluate[{evaluation}]" and name == "protocols":
                (partly if protocols else spoiled).append(difference)
            elif place == f"evaluate[{evaluation}]" and a.counts(name, protocols):
                spoiled.append(difference)
    if not common:
        return Verdict(question, "no", "no evaluation is common to both")
    if spoiled:
        return Verdict(question, "no", f"measured differently: {_named(spoiled)}", _paths(spoiled))
    if partly or len(common) < max(len(first), len(second)):
        return Verdict(question, "partly", "only the metrics that both measure")
    return Verdict(question, "yes", "the same protocols on the same data")


def _bundle(comparison: Comparison, surroundings: Sequence[Difference]) -> Verdict:
    question = "a bundle of A can replace B's"
    trained = [d for d in comparison.differences if d.effect in _ANOTHER_TRAINING]
    trained += [d for d in surroundings if d.effect in _ANOTHER_TRAINING and not d.path.startswith("run.code")]
    if trained:
        return Verdict(question, "no", f"the models differ: {_named(trained)}", _paths(trained))
    exported = [d for d in (*comparison.differences, *surroundings) if d.effect is Effect.EXPORT]
    if exported:
        reason = f"the training is the same, but export again: {_named(exported)}"
        return Verdict(question, "no", reason, _paths(exported))
    return Verdict(question, "yes", "the same model and export settings")


def _paths(differences: Iterable[Difference]) -> tuple[str, ...]:
    return tuple(difference.path for difference in differences)


def _named(differences: Iterable[Difference]) -> str:
    paths = _paths(differences)
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
