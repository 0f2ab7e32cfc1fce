"""The lineage of a model: the runs that it started from, and the data sets that each was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cbalign.engine.manifest import Manifest
from cbalign.engine.run import RunFolder
from cbalign.errors import UsageError
from cbalign.experiment.experiment import Experiment
from cbalign.parts import SourceSection

LINEAGE, TRAINED_ON, IMPORTED = "lineage", "trained_on", "imported_from"  # in a manifest's facts


@dataclass(frozen=True)
class Ancestor:
    """A model that another one started from."""

    name: str  # of the run, or of the file where that is all there is
    step: int | None
    trained_on: tuple[str, ...] | None  # names of data sets; None if unknown
    fingerprint: str | None  # of the run's spec

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Ancestor:
        """Read the values that `asdict` returned."""
        known = values["trained_on"]
        return cls(values["name"], values["step"], None if known is None else tuple(known), values["fingerprint"])


def ancestors(facts: Mapping[str, object]) -> tuple[Ancestor, ...]:
    """Return the ancestors that a run's facts list, the nearest first."""
    listed = facts.get(LINEAGE)
    return tuple(Ancestor.from_json(each) for each in listed) if isinstance(listed, list | tuple) else ()


def descend(run: RunFolder, step: int) -> tuple[Ancestor, ...]:
    """Return the lineage of a model that starts from a checkpoint of `run`.

    Raises:
        CheckpointError: the run's manifest is damaged.
    """
    manifest = Manifest.read(run.manifest)
    own = Ancestor(run.folder.name, step, _trained_on(manifest.facts, step), manifest.spec_fingerprint)
    return (own, *ancestors(manifest.facts), *_imported(manifest.facts))


def seen(facts: Mapping[str, object], step: int, name: str = "this run") -> tuple[Ancestor, ...]:
    """Return a run's model after `step` steps, then its ancestors."""
    return (
        Ancestor(name, step, _trained_on(facts, step), None),
        *ancestors(facts),
        *_imported(facts),
    )


def refuse_seen(section: SourceSection, lineage: Sequence[Ancestor]) -> str | None:
    """Check that a result on a source is zero-shot; return a warning if that cannot be verified.

    Raises:
        UsageError: a model of the lineage was trained on one of its data sets.
    """
    names = section.data_sets()
    for ancestor in lineage:
        if common := sorted(set(names) & set(ancestor.trained_on or ())):
            raise UsageError(
                f"not zero-shot: {ancestor.name} was trained on {', '.join(common)}",
                remedy="Remove zero_shot from the evaluation, or start from a model not trained on that data set.",
            )
    unknown = [ancestor.name for ancestor in lineage if ancestor.trained_on is None]
    if unknown:
        return f"training data of {' and '.join(unknown)} unknown; cannot verify that this is zero-shot"
    return None


def trained_on(experiment: Experiment) -> list[str]:
    """Return the data sets that an experiment trains on."""
    return list(experiment.data.train.data_sets())


def to_facts(lineage: Sequence[Ancestor]) -> list[dict[str, object]]:
    """Return the lineage as JSON values."""
    return [asdict(ancestor) for ancestor in lineage]


def _trained_on(facts: Mapping[str, object], step: int) -> tuple[str, ...] | None:
    if step == 0:
        return ()
    named = facts.get(TRAINED_ON)
    return tuple(map(str, named)) if isinstance(named, list | tuple) else None


def _imported(facts: Mapping[str, object]) -> tuple[Ancestor, ...]:
    """Return the file that the run's weights were imported from; its training data are unknown."""
    file = facts.get(IMPORTED)
    return () if file is None else (Ancestor(str(file), None, None, None),)
