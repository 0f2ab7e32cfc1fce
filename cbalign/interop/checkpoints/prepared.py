"""From a checkpoint to a run that can be evaluated, exported, searched with and trained on."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from cbalign.data.text import Tokenizer
from cbalign.engine.checkpoint import TrainingState, save_checkpoint
from cbalign.engine.optimizer import build_adamw
from cbalign.engine.run import RunFolder, create_run
from cbalign.engine.task import no_decay_for_vectors
from cbalign.experiment.dump import counted_settings, dump_yaml, experiment_fingerprint
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.tensors import TENSORS, TensorTable
from cbalign.interop.checkpoints.format import CheckpointFormat, ImportRequest
from cbalign.models.recorded import tensor_table
from cbalign.models.weights import WeightReport

ASSETS = "./assets"  # in a run, next to resolved.yaml


@dataclass(frozen=True)
class Prepared:
    """A model that was made of a checkpoint.

    Args:
        experiment: as the run records it; what `./assets` names is in `files`.
        model: with the weights of the checkpoint.
        tokenizer: of its texts.
        report: what happened to each tensor.
        files: files of the run's assets, by their path below it.
        notes: what the user has to know, in sentences.
        facts: further entries of the run's manifest.
    """

    experiment: Experiment
    model: nn.Module
    tokenizer: Tokenizer
    report: WeightReport
    files: Mapping[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Imported:
    """A run that was made from a checkpoint."""

    run: RunFolder
    experiment: Experiment
    report: WeightReport
    tensors: TensorTable
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return self.tensors.trainable_parameters or 0


def import_checkpoint(form: CheckpointFormat, request: ImportRequest, runs: Path) -> Imported:
    """Make a run of a checkpoint. Nothing is written unless everything fits.

    Args:
        form: of the checkpoint.
        request: what is imported.
        runs: the folder of runs.

    Raises:
        CheckpointError: the checkpoint cannot be read, is of another model, or does not fit spec or tokenizer.
        DataError: the tokenizer is damaged.
        StorageError: the run cannot be written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        prepared = form.read(request, Path(scratch))
        return _create(prepared, request, runs)


def run_name(given: str | None, source: str) -> str:
    """Return the name of the experiment: the given one, or one made of the file's."""
    path = Path(source)
    stem = path.name if path.is_dir() or "://" in source else path.stem
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")
    return given or (f"imported-{name}" if name else "imported")


def _create(prepared: Prepared, request: ImportRequest, runs: Path) -> Imported:
    experiment, model = prepared.experiment, prepared.model

    def fill(run: RunFolder) -> None:
        for name, file in prepared.files.items():
            (run.assets / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, run.assets / name)
        prepared.tokenizer.save(run.assets)
        _save(run, experiment, model)

    resolved, tensors, loaded = dump_yaml(experiment), tensor_table(model), request.loaded
    run = create_run(
        runs,
        experiment.name,
        spec=loaded.path.read_text(encoding="utf-8") if loaded is not None and loaded.path.is_file() else resolved,
        resolved=resolved,
        fingerprint=experiment_fingerprint(experiment),
        settings=counted_settings(experiment),
        facts={
            "imported_from": Path(request.source).name,
            "parameters": {"trainable": tensors.trainable_parameters, "teacher": tensors.teacher_parameters},
            TENSORS: tensors.to_json(),
            "vocabulary": prepared.tokenizer.vocabulary_size,
            **prepared.facts,
        },
        fill=fill,
    )
    return Imported(run, experiment, prepared.report, tensors, prepared.notes)


def _save(run: RunFolder, experiment: Experiment, model: nn.Module) -> None:
    """The checkpoint of a training that has not made a step."""
    optimizer = build_adamw(
        no_decay_for_vectors(model.parameters(), experiment.train.optimizer.weight_decay), experiment.train.optimizer
    )
    state = TrainingState(step=0, total_steps=0, steps_per_epoch=0, global_batch_size=0, samples_seen=0)
    save_checkpoint(run.checkpoints, state, model, optimizer, keep=1)
