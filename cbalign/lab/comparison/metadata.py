"""Read the recorded metadata of runs, checkpoints and bundles: environment, code, data, export, tensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cbalign.engine.checkpoint_folder import latest_checkpoint
from cbalign.engine.manifest import PLUGINS, Attempt, Manifest
from cbalign.engine.run import RunFolder
from cbalign.experiment.derived import NOTHING, Known
from cbalign.experiment.diff import Difference, SettingValue
from cbalign.experiment.document import Data
from cbalign.experiment.operands import Operand
from cbalign.experiment.tensors import TENSORS, TensorTable
from cbalign.lab.comparison.checkpoints import read_counters, read_tensors
from cbalign.parts.section import Effect

UNKNOWN = "not recorded"
FAMILIES = ("run", "bundle")  # first parts of the paths of metadata
TOKENIZER = "tokenizer.json"  # in a bundle


@dataclass(frozen=True)
class MetadataValue:
    """One recorded value, the effect of a difference, and a description."""

    value: Data
    effect: Effect
    help: str


@dataclass(frozen=True)
class OperandMetadata:
    """All recorded values of an operand. `source` is the file; `values` are by path (`run.versions.torch`)."""

    source: str = ""
    values: Mapping[str, MetadataValue] = field(default_factory=dict)
    known: Known = NOTHING

    def has(self, family: str) -> bool:
        """Return whether any value of a family is recorded."""
        return any(path.startswith(f"{family}.") for path in self.values)


def read_metadata(operand: Operand) -> OperandMetadata:
    """Read the metadata of an operand; a spec, or a run without a manifest, has none.

    Raises:
        CheckpointError: the manifest or checkpoint of a run is damaged.
        BundleError: the manifest of a bundle is damaged.
    """
    if operand.kind == "bundle" and operand.folder is not None:
        return _of_bundle(operand.folder)
    if operand.run is not None and operand.folder is not None and RunFolder(operand.run).manifest.is_file():
        checkpoint = operand.folder if operand.kind == "checkpoint" else None
        return _of_run(RunFolder(operand.run), checkpoint)
    return OperandMetadata()


def metadata_differences(metadata: Sequence[OperandMetadata]) -> list[Difference]:
    """Return the recorded values that differ between operands, except families that only one operand records.

    Args:
        metadata: metadata of each operand.
    """
    found = []
    for family in FAMILIES:
        having = [each.has(family) for each in metadata]
        if sum(having) < 2:
            continue
        paths = dict.fromkeys(path for each in metadata for path in each.values if path.startswith(f"{family}."))
        for path in paths:
            given = [each.values.get(path) for each in metadata]
            told = next(fact for fact in given if fact)
            values = {json.dumps(fact.value if fact else None) for fact, has in zip(given, having) if has}
            if len(values) > 1:
                cells = tuple(SettingValue(f.value, each.source) if f else None for f, each in zip(given, metadata))
                found.append(Difference(path, told.effect, cells, told.help))
    return found


def _of_run(run: RunFolder, checkpoint: Path | None) -> OperandMetadata:
    manifest = Manifest.read(run.manifest)
    own = checkpoint or latest_checkpoint(run.checkpoints)
    counters = read_counters(own) if own else None
    values: dict[str, MetadataValue] = {}
    if counters is not None:
        step = counters.step
        values["run.step"] = MetadataValue(step, Effect.TRAINING, "Optimiser steps before the checkpoint.")
    if checkpoint is None:
        values["run.status"] = MetadataValue(manifest.status, Effect.LABEL, "Whether and how the training ended.")
    values |= _of_attempts(manifest.attempts, _plugins(manifest.facts))
    values |= _of_data(manifest.facts)
    vocabulary = _number(manifest.facts.get("vocabulary"))
    if vocabulary is not None:
        values["run.vocabulary"] = MetadataValue(vocabulary, Effect.ARCHITECTURE, "Size of the tokenizer's vocabulary.")
    parameters = manifest.facts.get("parameters")
    counts = parameters if isinstance(parameters, Mapping) else {}
    known = Known(
        vocabulary=vocabulary,
        processes=manifest.attempts[-1].processes if manifest.attempts else None,
        steps_per_epoch=counters.steps_per_epoch if counters else None,
        total_steps=counters.total_steps if counters else None,
        trainable=_number(counts.get("trainable")),
        teacher=_number(counts.get("teacher")),
        tensors=_tensors(manifest.facts.get(TENSORS), own),
    )
    return OperandMetadata(str(run.manifest), values, known)


def _of_attempts(attempts: Sequence[Attempt], plugins: Sequence[str]) -> dict[str, MetadataValue]:
    """Return code and machine of all attempts. The code of `plugins` can change the training."""
    if not attempts:
        return {}

    def every(value: Callable[[Attempt], str | None]) -> str:
        return ", then ".join(dict.fromkeys(value(attempt) or UNKNOWN for attempt in attempts))

    metadata = {
        "run.code": MetadataValue(every(lambda a: a.revision), Effect.TRAINING, "Git revision of cbalign's code."),
        "run.processes": MetadataValue(
            every(lambda a: str(a.processes)), Effect.TRAINING, "Number of training processes."
        ),
        "run.device": MetadataValue(every(lambda a: a.device), Effect.RUNTIME, "Device of the training."),
    }
    for name in dict.fromkeys(name for attempt in attempts for name in attempt.versions):
        version = every(lambda a, n=name: a.versions.get(n))  # type: ignore[misc]
        effect = Effect.TRAINING if name in plugins else Effect.RUNTIME
        metadata[f"run.versions.{name}"] = MetadataValue(version, effect, f"Version of {name}.")
    return metadata


def _plugins(recorded: Mapping[str, object]) -> tuple[str, ...]:
    """Return the distributions, other than cbalign, whose parts a run uses."""
    found = recorded.get(PLUGINS)
    return tuple(found) if isinstance(found, Mapping) else ()


def _of_data(recorded: Mapping[str, object]) -> dict[str, MetadataValue]:
    """Return description and fingerprint of each split."""
    lines, marks = (recorded.get(name) for name in ("data", "fingerprints"))
    metadata = {}
    for split, line in lines.items() if isinstance(lines, Mapping) else ():
        mark = marks.get(split) if isinstance(marks, Mapping) else None
        effect = Effect.DATA if split == "train" else Effect.EVALUATION
        text = f"{line} #{mark}" if mark else str(line)
        metadata[f"run.data[{split}]"] = MetadataValue(
            text, effect, "Description of the data, # and their fingerprint."
        )
    return metadata


def _tensors(recorded: object, checkpoint: Path | None) -> TensorTable | None:
    """Return the tensors of a checkpoint with the run's record of them; without a checkpoint, only the record."""
    try:
        record = TensorTable.from_json(recorded)
    except ValueError:  # a run of an earlier version has none
        record = None
    stored = read_tensors(checkpoint) if checkpoint else None
    if stored is None or record is None:
        return stored or record
    return stored.described_by(record)


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _of_bundle(folder: Path) -> OperandMetadata:
    from cbalign.runtime.bundle import BundleFolder

    manifest = BundleFolder.open(folder).manifest
    values = {
        "bundle.graphs": MetadataValue(list(manifest.graphs), Effect.EXPORT, "Graphs in the bundle."),
        "bundle.precisions": MetadataValue(list(manifest.precisions), Effect.EXPORT, "Number formats in the bundle."),
        "bundle.opset": MetadataValue(manifest.opset, Effect.EXPORT, "ONNX operator set."),
        "bundle.step": MetadataValue(manifest.step, Effect.TRAINING, "Optimiser steps before the export."),
        "bundle.run": MetadataValue(manifest.run, Effect.LABEL, "The exported run."),
    }
    for name, version in manifest.versions.items():
        values[f"bundle.versions.{name}"] = MetadataValue(version, Effect.RUNTIME, f"Version of {name} at the export.")
    for name, version in manifest.plugins.items():
        values[f"bundle.plugins.{name}"] = MetadataValue(version, Effect.EXPORT, f"Version of {name} at the export.")
    return OperandMetadata(str(folder / "manifest.json"), values, Known(vocabulary=_vocabulary(folder / TOKENIZER)))


def _vocabulary(tokenizer: Path) -> int | None:
    """Return the vocabulary size of a `tokenizers` file; None if it has none."""
    try:
        content = json.loads(tokenizer.read_text(encoding="utf-8"))
        ids = [*content["model"]["vocab"].values(), *(token["id"] for token in content.get("added_tokens", ()))]
        return int(max(ids)) + 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
