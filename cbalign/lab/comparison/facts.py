"""What runs, checkpoints and bundles record about themselves: environment, code, data, export, tensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cbalign.engine.manifest import PLUGINS, Attempt, Manifest
from cbalign.engine.run import Run, latest_checkpoint
from cbalign.experiment.derived import NOTHING, Known
from cbalign.experiment.diff import Difference, SettingValue
from cbalign.experiment.document import Data
from cbalign.experiment.operands import Operand
from cbalign.experiment.tensors import TENSORS, TensorTable
from cbalign.lab.comparison.checkpoints import read_counters, read_tensors
from cbalign.parts.section import Effect

UNKNOWN = "not recorded"
FAMILIES = ("run", "bundle")  # first parts of the paths of facts
TOKENIZER = "tokenizer.json"  # in a bundle


@dataclass(frozen=True)
class Fact:
    """One recorded value, the effect of a difference, and a sentence about it."""

    value: Data
    effect: Effect
    help: str


@dataclass(frozen=True)
class Facts:
    """Everything that an operand records. `source` is the file; `values` are by path (`run.versions.torch`)."""

    source: str = ""
    values: Mapping[str, Fact] = field(default_factory=dict)
    known: Known = NOTHING

    def has(self, family: str) -> bool:
        """Whether anything of a family is recorded."""
        return any(path.startswith(f"{family}.") for path in self.values)


def read_facts(operand: Operand) -> Facts:
    """The facts of an operand; a spec, or a run without a manifest, has none.

    Raises:
        CheckpointError: the manifest or checkpoint of a run is damaged.
        BundleError: the manifest of a bundle is damaged.
    """
    if operand.kind == "bundle" and operand.folder is not None:
        return _of_bundle(operand.folder)
    if operand.run is not None and operand.folder is not None and Run(operand.run).manifest.is_file():
        checkpoint = operand.folder if operand.kind == "checkpoint" else None
        return _of_run(Run(operand.run), checkpoint)
    return Facts()


def surroundings(facts: Sequence[Facts]) -> list[Difference]:
    """The recorded values that differ between operands; kinds of facts that only one operand records are left out.

    Args:
        facts: one for each operand.
    """
    found = []
    for family in FAMILIES:
        having = [each.has(family) for each in facts]
        if sum(having) < 2:
            continue
        paths = dict.fromkeys(path for each in facts for path in each.values if path.startswith(f"{family}."))
        for path in paths:
            given = [each.values.get(path) for each in facts]
            told = next(fact for fact in given if fact)
            values = {json.dumps(fact.value if fact else None) for fact, has in zip(given, having) if has}
            if len(values) > 1:
                cells = tuple(SettingValue(f.value, each.source) if f else None for f, each in zip(given, facts))
                found.append(Difference(path, told.effect, cells, told.help))
    return found


def _of_run(run: Run, checkpoint: Path | None) -> Facts:
    manifest = Manifest.read(run.manifest)
    own = checkpoint or latest_checkpoint(run.checkpoints)
    counters = read_counters(own) if own else None
    values: dict[str, Fact] = {}
    if counters is not None:
        step = counters.step
        values["run.step"] = Fact(step, Effect.TRAINING, "Optimiser steps before the checkpoint.")
    if checkpoint is None:
        values["run.status"] = Fact(manifest.status, Effect.LABEL, "Whether and how the training ended.")
    values |= _of_attempts(manifest.attempts, _plugins(manifest.facts))
    values |= _of_data(manifest.facts)
    vocabulary = _number(manifest.facts.get("vocabulary"))
    if vocabulary is not None:
        values["run.vocabulary"] = Fact(vocabulary, Effect.ARCHITECTURE, "Number of tokens that the tokenizer knows.")
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
    return Facts(str(run.manifest), values, known)


def _of_attempts(attempts: Sequence[Attempt], plugins: Sequence[str]) -> dict[str, Fact]:
    """Code and machine; a run that resumed elsewhere has several. Code of `plugins` can change the training."""
    if not attempts:
        return {}

    def every(value: Callable[[Attempt], str | None]) -> str:
        return ", then ".join(dict.fromkeys(value(attempt) or UNKNOWN for attempt in attempts))

    facts = {
        "run.code": Fact(every(lambda a: a.revision), Effect.TRAINING, "Git revision of cbalign's code."),
        "run.processes": Fact(every(lambda a: str(a.processes)), Effect.TRAINING, "Processes that trained together."),
        "run.device": Fact(every(lambda a: a.device), Effect.RUNTIME, "Device of the training."),
    }
    for name in dict.fromkeys(name for attempt in attempts for name in attempt.versions):
        version = every(lambda a, n=name: a.versions.get(n))  # type: ignore[misc]
        effect = Effect.TRAINING if name in plugins else Effect.RUNTIME
        facts[f"run.versions.{name}"] = Fact(version, effect, f"Version of {name}.")
    return facts


def _plugins(recorded: Mapping[str, object]) -> tuple[str, ...]:
    """The distributions, besides cbalign, whose parts a run uses."""
    found = recorded.get(PLUGINS)
    return tuple(found) if isinstance(found, Mapping) else ()


def _of_data(recorded: Mapping[str, object]) -> dict[str, Fact]:
    """Description and fingerprint of each split."""
    lines, marks = (recorded.get(name) for name in ("data", "fingerprints"))
    facts = {}
    for split, line in lines.items() if isinstance(lines, Mapping) else ():
        mark = marks.get(split) if isinstance(marks, Mapping) else None
        effect = Effect.DATA if split == "train" else Effect.EVALUATION
        text = f"{line} #{mark}" if mark else str(line)
        facts[f"run.data[{split}]"] = Fact(text, effect, "Description of the data, and after # their fingerprint.")
    return facts


def _tensors(recorded: object, checkpoint: Path | None) -> TensorTable | None:
    """The tensors of a checkpoint, described by what the run recorded; without a checkpoint the record alone."""
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


def _of_bundle(folder: Path) -> Facts:
    from cbalign.runtime.bundle import Bundle

    manifest = Bundle.open(folder).manifest
    values = {
        "bundle.graphs": Fact(list(manifest.graphs), Effect.EXPORT, "Graphs in the bundle."),
        "bundle.precisions": Fact(list(manifest.precisions), Effect.EXPORT, "Number formats in the bundle."),
        "bundle.opset": Fact(manifest.opset, Effect.EXPORT, "ONNX operator set."),
        "bundle.step": Fact(manifest.step, Effect.TRAINING, "Optimiser steps before the export."),
        "bundle.run": Fact(manifest.run, Effect.LABEL, "The run that it was exported from."),
    }
    for name, version in manifest.versions.items():
        values[f"bundle.versions.{name}"] = Fact(version, Effect.RUNTIME, f"Version of {name} that exported it.")
    for name, version in manifest.plugins.items():
        values[f"bundle.plugins.{name}"] = Fact(version, Effect.EXPORT, f"Version of {name} that it was made with.")
    return Facts(str(folder / "manifest.json"), values, Known(vocabulary=_vocabulary(folder / TOKENIZER)))


def _vocabulary(tokenizer: Path) -> int | None:
    """Number of tokens that a file of the `tokenizers` library has ids for; None if it has none."""
    try:
        content = json.loads(tokenizer.read_text(encoding="utf-8"))
        ids = [*content["model"]["vocab"].values(), *(token["id"] for token in content.get("added_tokens", ()))]
        return int(max(ids)) + 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
