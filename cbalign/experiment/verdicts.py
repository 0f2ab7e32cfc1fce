"""What a difference means for what the first experiment left behind: its weights, run, numbers, bundle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cbalign.experiment.derived import NOTHING, Known, shapes_of
from cbalign.experiment.diff import Comparison, Difference
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fitting import misfits, summarise
from cbalign.parts.section import Effect

Answer = Literal["yes", "partly", "no"]

# What an architecture setting shapes, by the longest matching prefix; for models whose tensors are not known.
_PARTS = {
    "task": "task head",
    "model.vision": "image tower",
    "model.text": "text tower",
    "model.fusion": "fusion layers",
    "model.joint_dim": "projections, prototypes and queues",
    "model.codebook": "prototypes",
    "model.queue": "queues",
    "objectives.codebook": "codebook",
    "objectives.matching": "match head",
    "objectives.masked_language": "masked-language head",
}
_ANOTHER_TRAINING = (Effect.ARCHITECTURE, Effect.INITIALISATION, Effect.DATA, Effect.TRAINING)


@dataclass(frozen=True)
class Verdict:
    """A question, its answer, and why; `details` has a line for each thing that the reason sums up."""

    question: str
    answer: Answer
    reason: str
    details: tuple[str, ...] = ()


def verdicts(
    comparison: Comparison, known: Sequence[Known] = (NOTHING, NOTHING), surroundings: Sequence[Difference] = ()
) -> list[Verdict]:
    """The verdicts on two experiments, A and B in the order of the comparison.

    Args:
        comparison: all that differs between the specs.
        known: what is known of each beyond its spec.
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
    taken = [_with_vocabulary(x, each) for x, each in zip(comparison.experiments, known)]
    (before, why), (after, why_too) = (shapes_of(x, each) for x, each in zip(comparison.experiments, taken))
    if before is None or after is None:
        return _weights_by_setting(comparison, question, why or why_too)
    found = misfits(before, after)
    caveat = "; if both vocabularies, which come from the captions, are equally long" if taken != list(known) else ""
    if not found:
        return Verdict(question, "yes", f"the same {len(after):,} tensors{caveat}")
    fitting = sum(after[name] == shape for name, shape in before.items() if name in after)
    reason = f"{fitting:,} of B's {len(after):,} tensors do, not {summarise(found)}{caveat}"
    details = tuple(f"{misfit.kind}: {misfit}" for misfit in found)
    return Verdict(question, "partly" if fitting else "no", reason, details)


def _with_vocabulary(experiment: Experiment, known: Known) -> Known:
    """What is known, or the largest vocabulary that training on the captions can give."""
    text = experiment.model.text
    if known.shapes is None and known.vocabulary is None and text.tokenizer == "captions":
        return replace(known, vocabulary=text.vocabulary)
    return known


def _weights_by_setting(comparison: Comparison, question: str, why: str) -> Verdict:
    """From the settings that changed, where the tensors cannot be listed."""
    changed = comparison.by_effect.get(Effect.ARCHITECTURE, ())
    if not changed:
        return Verdict(question, "yes", "no setting of the architecture differs")
    parts: dict[str, list[str]] = {}
    for difference in changed:
        parts.setdefault(_part(difference.path), []).append(difference.path)
    told = "; ".join(f"{part} ({', '.join(paths)})" for part, paths in parts.items())
    return Verdict(question, "partly", f"not the {told}; which tensors cannot be told: {why}")


def _part(path: str) -> str:
    prefixes = [prefix for prefix in _PARTS if path == prefix or path.startswith(f"{prefix}.")]
    return _PARTS[max(prefixes, key=len)] if prefixes else path


def _resumable(comparison: Comparison) -> Verdict:
    question = "a run of A resumes as B"
    changed = [d for d in comparison.differences if d.effect in _ANOTHER_TRAINING]
    if changed:
        return Verdict(question, "no", f"it would be another training: {_named(changed)}", _paths(changed))
    kept = [d for d in comparison.differences if d.effect is not Effect.RUNTIME]
    if kept:
        reason = f"the training is the same, but a run keeps its own {_named(kept)}"
        return Verdict(question, "partly", reason, _paths(kept))
    return Verdict(question, "yes", "the training is the same")


def _comparable(comparison: Comparison, surroundings: Sequence[Difference]) -> Verdict:
    """Numbers compare where the same is measured on the same data; what only one side measures spoils nothing."""
    question = "numbers of A and B compare"
    first, second = ({(e.kind, e.on): e for e in x.evaluate} for x in comparison.experiments)
    common = [key for key in first if key in second]
    spoiled: list[Difference] = []
    partly: list[Difference] = []
    for kind, split in common:
        a, b = first[kind, split], second[kind, split]
        protocols = a.measured & b.measured
        spoiled.extend(d for d in surroundings if d.path == f"run.data[{split}]")
        for difference in comparison.by_effect.get(Effect.EVALUATION, ()):
            place, _, name = difference.path.rpartition(".")
            if difference.path == f"data.{split}" or place == f"data.{split}":
                spoiled.append(difference)
            elif place == f"evaluate[{kind} {split}]" and name == "protocols":
                (partly if protocols else spoiled).append(difference)
            elif place == f"evaluate[{kind} {split}]" and a.counts(name, protocols):
                spoiled.append(difference)
    if not common:
        return Verdict(question, "no", "no evaluation is in both")
    if spoiled:
        return Verdict(question, "no", f"measured differently: {_named(spoiled)}", _paths(spoiled))
    if partly or len(common) < max(len(first), len(second)):
        return Verdict(question, "partly", "what both measure; one measures more")
    return Verdict(question, "yes", "the same protocols on the same data")


def _bundle(comparison: Comparison, surroundings: Sequence[Difference]) -> Verdict:
    question = "a bundle of A serves as B's"
    trained = [d for d in comparison.differences if d.effect in _ANOTHER_TRAINING]
    trained += [d for d in surroundings if d.effect in _ANOTHER_TRAINING and not d.path.startswith("run.code")]
    if trained:
        return Verdict(question, "no", f"another model: {_named(trained)}", _paths(trained))
    exported = [d for d in (*comparison.differences, *surroundings) if d.effect is Effect.EXPORT]
    if exported:
        reason = f"export again, training is the same: {_named(exported)}"
        return Verdict(question, "no", reason, _paths(exported))
    return Verdict(question, "yes", "the same model and export settings")


def _paths(differences: Iterable[Difference]) -> tuple[str, ...]:
    return tuple(difference.path for difference in differences)


def _named(differences: Iterable[Difference]) -> str:
    paths = _paths(differences)
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
