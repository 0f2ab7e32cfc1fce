"""What a difference means for what the first experiment left behind: its weights, run, numbers, bundle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cbalign.spec.diff import Comparison, Difference
from cbalign.spec.section import Effect

Answer = Literal["yes", "partly", "no"]

# What an architecture setting shapes, by the longest matching prefix.
_PARTS = {
    "task": "task head",
    "model.vision": "image tower",
    "model.vision.image_size": "position embeddings of the image tower (interpolated)",
    "model.text": "text tower",
    "model.fusion": "fusion layers",
    "model.joint_dim": "projections, prototypes and queues",
    "model.codebook": "prototypes",
    "model.queue": "queues, which refill by themselves",
    "objectives.codebook": "codebook",
    "objectives.matching": "match head",
    "objectives.masked_language": "masked-language head",
}
_ANOTHER_TRAINING = (Effect.ARCHITECTURE, Effect.INITIALISATION, Effect.DATA, Effect.TRAINING)


@dataclass(frozen=True)
class Verdict:
    """A question, its answer, and why."""

    question: str
    answer: Answer
    reason: str


def verdicts(comparison: Comparison) -> list[Verdict]:
    """The verdicts on two experiments, A and B in the order of the comparison.

    Raises:
        ValueError: not two.
    """
    if len(comparison.experiments) != 2:
        raise ValueError("verdicts are about two experiments")
    return [_weights(comparison), _resumable(comparison), _comparable(comparison), _bundle(comparison)]


def _weights(comparison: Comparison) -> Verdict:
    question = "weights of A load in B"
    changed = comparison.by_effect.get(Effect.ARCHITECTURE, ())
    if not changed:
        return Verdict(question, "yes", "the same tensors")
    parts: dict[str, list[str]] = {}
    for difference in changed:
        parts.setdefault(_part(difference.path), []).append(difference.path)
    told = "; ".join(f"{part} ({', '.join(paths)})" for part, paths in parts.items())
    return Verdict(question, "partly", f"not the {told}")


def _part(path: str) -> str:
    prefixes = [prefix for prefix in _PARTS if path == prefix or path.startswith(f"{prefix}.")]
    return _PARTS[max(prefixes, key=len)] if prefixes else path


def _resumable(comparison: Comparison) -> Verdict:
    question = "a run of A resumes as B"
    changed = [d for d in comparison.differences if d.effect in _ANOTHER_TRAINING]
    if not changed:
        return Verdict(question, "yes", "the training is the same")
    return Verdict(question, "no", f"it would be another training: {_named(changed)}")


def _comparable(comparison: Comparison) -> Verdict:
    """Numbers compare where the same is measured on the same data; what only one side measures spoils nothing."""
    question = "numbers of A and B compare"
    first, second = ({(e.kind, e.on): e for e in x.evaluate} for x in comparison.experiments)
    common = [key for key in first if key in second]
    spoiled: list[Difference] = []
    partly: list[Difference] = []
    for kind, split in common:
        a, b = first[kind, split], second[kind, split]
        protocols = set(a.protocols) & set(b.protocols)
        for difference in comparison.by_effect.get(Effect.EVALUATION, ()):
            place, _, name = difference.path.rpartition(".")
            if difference.path == f"data.{split}" or place == f"data.{split}":
                spoiled.append(difference)
            elif place == f"evaluate[{kind} {split}]" and name == "protocols":
                (partly if protocols else spoiled).append(difference)
            elif place == f"evaluate[{kind} {split}]" and (name != "top_k" or "rerank" in protocols):
                spoiled.extend([difference] if name != "bootstrap" else [])
    if not common:
        return Verdict(question, "no", "no evaluation is in both")
    if spoiled:
        return Verdict(question, "no", f"measured differently: {_named(spoiled)}")
    if partly or len(common) < max(len(first), len(second)):
        return Verdict(question, "partly", "what both measure; one measures more")
    return Verdict(question, "yes", "the same protocols on the same data")


def _bundle(comparison: Comparison) -> Verdict:
    question = "a bundle of A serves as B's"
    trained = [d for d in comparison.differences if d.effect in _ANOTHER_TRAINING]
    if trained:
        return Verdict(question, "no", f"another model: {_named(trained)}")
    exported = comparison.by_effect.get(Effect.EXPORT, ())
    if exported:
        return Verdict(question, "no", f"export again, training is the same: {_named(exported)}")
    return Verdict(question, "yes", "the same model and export settings")


def _named(differences: Iterable[Difference]) -> str:
    paths = [difference.path for difference in differences]
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
