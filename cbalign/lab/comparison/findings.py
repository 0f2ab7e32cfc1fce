"""Collect all differences between operands, for every output format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbalign.errors import UsageError
from cbalign.experiment.derived import Known, Quantity, derived_quantities
from cbalign.experiment.diff import Comparison, Difference, SettingValue, compare_experiments
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import every
from cbalign.experiment.operands import Operand
from cbalign.experiment.suggestions import did_you_mean
from cbalign.experiment.verdicts import Verdict, verdicts
from cbalign.parts.section import Effect

if TYPE_CHECKING:
    from cbalign.lab.comparison.bundles import GraphChanges
    from cbalign.lab.comparison.metadata import OperandMetadata
    from cbalign.lab.comparison.metrics import MetricTable
    from cbalign.lab.comparison.weights import WeightChanges

_FAMILIES = {"run": "runs and checkpoints", "bundle": "bundles"}  # metadata that only these record


@dataclass(frozen=True)
class Pairing:
    """Changes of graphs or tensors between the first operand and another one."""

    first: str
    other: str
    graphs: tuple[GraphChanges, ...] = ()
    weights: WeightChanges | None = None


@dataclass(frozen=True)
class Findings:
    """The content of a comparison. `derived` has a row for each differing quantity, with a value per operand."""

    operands: tuple[Operand, ...]
    comparison: Comparison
    derived: tuple[tuple[Quantity, ...], ...]
    verdicts: tuple[Verdict, ...]
    metrics: MetricTable | None
    pairings: tuple[Pairing, ...]
    everything: bool  # whether to show equal settings and every tensor

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the operands, as the user wrote them."""
        return tuple(operand.name for operand in self.operands)

    @property
    def is_pair(self) -> bool:
        """Whether there are exactly two operands."""
        return len(self.operands) == 2


def gather(
    operands: Sequence[Operand],
    *,
    only: Sequence[str] = (),
    ignore: Sequence[str] = (),
    everything: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Findings:
    """Compare operands by specs, metadata, metrics and tensors.

    Args:
        operands: two or more.
        only: keep only differences of these effect classes or below these paths.
        ignore: leave out differences of these effect classes or below these paths.
        everything: also list equal settings.
        report: progress callback; called before slow steps.

    Raises:
        UsageError: `only` or `ignore` contain an unknown name.
        CbalignError: a manifest, checkpoint or graph is damaged.
    """
    specs = compare_experiments([each.loaded for each in operands], keep_same=everything)
    known = [Known()] * len(operands)
    around: list[Difference] = []
    metrics: MetricTable | None = None
    pairings: tuple[Pairing, ...] = ()
    if any(operand.folder for operand in operands):
        from cbalign.lab.comparison.metadata import metadata_differences, read_metadata

        metadata = [read_metadata(operand) for operand in operands]
        known = [each.known for each in metadata]
        pairings = _pairings(operands)
        around = [*metadata_differences(metadata), *_files(pairings, operands, metadata)]
        if sum(operand.run is not None for operand in operands) > 1:
            from cbalign.lab.comparison.metrics import compare_metrics

            metrics = compare_metrics(operands)
    shown = specs.extended(around)
    for names, keep in ((only, True), (ignore, False)):
        if names:
            _refuse_unknown(names, operands)
            shown = shown.keep(lambda d, n=names, k=keep: is_among(d, n) is k)  # type: ignore[misc]
    if only:  # everything else describes the whole comparison
        return Findings(tuple(operands), shown, (), (), None, (), everything)
    if everything or Effect.ARCHITECTURE in specs.by_effect:
        from cbalign.lab.comparison.tensors import with_tensors

        known = with_tensors([operand.experiment for operand in operands], known, report)
    rows = zip(*(derived_quantities(o.experiment, k) for o, k in zip(operands, known)))
    return Findings(
        operands=tuple(operands),
        comparison=shown,
        derived=tuple(row for row in rows if everything or _differ(row)),
        verdicts=tuple(verdicts(specs, known, around)) if len(operands) == 2 else (),
        metrics=metrics,
        pairings=pairings,
        everything=everything,
    )


def is_among(difference: Difference, names: Sequence[str]) -> bool:
    """Return whether a difference has one of these effect classes, or is at or below one of these paths."""
    path = difference.path
    return any(
        name == difference.effect.value or path == name or path.startswith((f"{name}.", f"{name}[", f"{name} "))
        for name in names
    )


def _differ(row: Sequence[Quantity]) -> bool:
    """Return whether known values, or reasons for unknown values, differ; known and unknown are not compared."""
    return (
        len({q.value for q in row if q.value is not None}) > 1 or len({q.unknown for q in row if q.value is None}) > 1
    )


def _refuse_unknown(names: Sequence[str], operands: Sequence[Operand]) -> None:
    """Reject misspelt classes and paths, which would otherwise give "no differences"."""
    classes = [effect.value for effect in Effect]
    paths = [found.path.replace(".[]", "") for found in every(Experiment)]
    for name in names:
        family = name.partition(".")[0].partition("[")[0]
        if family in _FAMILIES:
            count = sum(
                operand.run is not None if family == "run" else operand.kind == "bundle" for operand in operands
            )
            if count < 2:
                kinds = ", ".join(f"{operand.name} is a {operand.kind}" for operand in operands)
                raise UsageError(f"{name} compares {_FAMILIES[family]}, and needs at least two of them: {kinds}.")
            continue
        plain = "".join(part.partition("]")[2] if "]" in part else part for part in name.split("["))
        if name not in classes and not any(path == plain or path.startswith(f"{plain}.") for path in paths):
            hint = did_you_mean(name, [*classes, *paths, *_FAMILIES])
            remedy = f"{hint[:1].upper()}{hint[1:]}" if hint else f"Effect classes are {', '.join(classes)}."
            raise UsageError(f"{name} is neither an effect class nor a setting.", remedy=remedy)


def _pairings(operands: Sequence[Operand]) -> tuple[Pairing, ...]:
    """Pair the first bundle with every other one, and the first checkpoint with every other one."""
    found = []
    bundles = [operand for operand in operands if operand.kind == "bundle"]
    checkpoints = [operand for operand in operands if operand.kind == "checkpoint"]
    for first, other in ((group[0], other) for group in (bundles, checkpoints) if group for other in group[1:]):
        assert first.folder is not None
        assert other.folder is not None
        if first.kind == "bundle":
            from cbalign.lab.comparison.bundles import compare_graphs
            from cbalign.runtime.bundle import BundleFolder

            graphs = compare_graphs(BundleFolder.open(first.folder), BundleFolder.open(other.folder))
            found.append(Pairing(first.name, other.name, tuple(graphs)))
        else:
            from cbalign.lab.comparison.checkpoints import compare_checkpoints

            changes = compare_checkpoints(first.folder, other.folder)
            found.append(Pairing(first.name, other.name, weights=changes))
    return tuple(found)


def _files(
    pairings: Sequence[Pairing], operands: Sequence[Operand], metadata: Sequence[OperandMetadata]
) -> list[Difference]:
    """Turn changed graphs and weights into differences."""
    found = {}
    for pairing in pairings:
        changes = [(f"bundle.{graph.name}", graph.weights, graph.computes_the_same) for graph in pairing.graphs]
        if pairing.weights is not None and not pairing.weights.same:
            changes.append(("run.weights", pairing.weights, False))
        for path, weights, equal in changes:
            trained = weights is None or not weights.same
            texts = {pairing.first: "original", pairing.other: _in_words(weights, equal)}
            sources = {operand.name: each.source for operand, each in zip(operands, metadata)}
            cells = tuple(SettingValue(texts[o.name], sources[o.name]) if o.name in texts else None for o in operands)
            effect = Effect.TRAINING if trained else Effect.EXPORT
            found[path, pairing.other] = Difference(path, effect, cells, "Weights, compared tensor by tensor.")
    return list(found.values())


def _in_words(weights: WeightChanges | None, equal: bool) -> str:
    if weights is None:
        return "different file"
    if weights.same:
        return "different metadata, same weights" if equal else "different operators, same weights"
    return f"{len(weights.changed)} of {weights.compared} tensors changed"
