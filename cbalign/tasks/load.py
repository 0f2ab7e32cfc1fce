"""A trained run as something that can be evaluated and exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar, assert_never

import torch

from cbalign.data.answer_list import ANSWERS_FILE, read_answers
from cbalign.data.items import ENTAILMENT_LABELS, STATEMENT_LABELS
from cbalign.data.text import Tokenizer
from cbalign.engine.checkpoint import load_model as load_weights
from cbalign.engine.device import choose_device
from cbalign.engine.run import Run, open_run
from cbalign.errors import UsageError
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.load import load_experiment
from cbalign.models.answer_graphs import TorchAnswerer
from cbalign.models.build import build_answering, build_entailment, build_image_pairs
from cbalign.models.classifier import TorchClassifier
from cbalign.models.encoder import TorchEncoder
from cbalign.tasks.align.network import build_model
from cbalign.tasks.align.section import PretrainTask, RetrievalTask
from cbalign.tasks.entailment.section import EntailmentTask
from cbalign.tasks.nlvr2.section import NLVR2Task
from cbalign.tasks.vqa.section import VQATask

TorchModel: TypeAlias = TorchEncoder | TorchClassifier | TorchAnswerer
"""A PyTorch model of a task, as evaluation sees it."""

T = TypeVar("T", TorchEncoder, TorchClassifier, TorchAnswerer)


@dataclass(frozen=True)
class _Trained:
    """What a model is filled from."""

    experiment: Experiment
    tokenizer: Tokenizer
    checkpoint: Path
    device: torch.device

    @property
    def vocabulary(self) -> int:
        return self.tokenizer.vocabulary_size


def load_encoder(folder: Path, *, checkpoint: Path | None = None, device: str = "cpu") -> TorchEncoder:
    """The model of a run of pretraining or retrieval; arguments and errors as of `load_model`.

    Raises:
        UsageError: the run is of another task.
    """
    model = load_model(folder, checkpoint=checkpoint, device=device)
    return _require(model, TorchEncoder, folder, "pretraining or retrieval: it embeds no images and texts")


def load_classifier(folder: Path, *, checkpoint: Path | None = None, device: str = "cpu") -> TorchClassifier:
    """The model of a run of task nlvr2 or entailment; arguments and errors as of `load_model`.

    Raises:
        UsageError: the run is of another task.
    """
    model = load_model(folder, checkpoint=checkpoint, device=device)
    return _require(model, TorchClassifier, folder, "nlvr2 or entailment: it classifies nothing")


def load_answerer(folder: Path, *, checkpoint: Path | None = None, device: str = "cpu") -> TorchAnswerer:
    """The model of a run of task vqa; arguments and errors as of `load_model`.

    Raises:
        UsageError: the run is of another task.
    """
    model = load_model(folder, checkpoint=checkpoint, device=device)
    return _require(model, TorchAnswerer, folder, "vqa: it answers no questions")


def load_model(folder: Path, *, checkpoint: Path | None = None, device: str = "cpu") -> TorchModel:
    """The model of a run, in evaluation mode, with its tokenizer.

    Args:
        folder: the run directory.
        checkpoint: one of its checkpoints; None takes the newest.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        CheckpointError: the run has no checkpoint, or its weights are damaged.
        DeviceError: the device is not there.
        UsageError: nothing is measured of the run's task.
    """
    run = open_run(folder)
    experiment = load_experiment(run.resolved, check_files=False).experiment
    place = choose_device(device)
    trained = _Trained(experiment, Tokenizer.load(run.assets), checkpoint or run.latest_checkpoint(), place)
    match experiment.task:
        case PretrainTask() | RetrievalTask():
            return _encoder(trained)
        case EntailmentTask():
            return _entailment(trained)
        case NLVR2Task():
            return _statements(trained, experiment.task)
        case VQATask():
            return _answerer(trained, run)
        case _:
            assert_never(experiment.task)


def _require(model: TorchModel, kind: type[T], folder: Path, wanted: str) -> T:
    if not isinstance(model, kind):
        raise UsageError(f"{folder} is a run of another task than {wanted}")
    return model


def _encoder(trained: _Trained) -> TorchEncoder:
    model = build_model(trained.experiment, trained.tokenizer.info, pretrained=False)
    load_weights(model, trained.checkpoint)
    return TorchEncoder(model.to(trained.device).eval(), trained.tokenizer, trained.device)


def _entailment(trained: _Trained) -> TorchClassifier:
    model = build_entailment(trained.experiment.model, trained.vocabulary, pretrained=False)
    load_weights(model, trained.checkpoint)
    student = model.student.to(trained.device).eval()
    return TorchClassifier(student, trained.tokenizer, trained.device, ENTAILMENT_LABELS)


def _answerer(trained: _Trained, run: Run) -> TorchAnswerer:
    model = build_answering(trained.experiment.model, trained.vocabulary, pretrained=False)
    load_weights(model, trained.checkpoint)
    answers = read_answers(run.assets / ANSWERS_FILE)
    student = model.student.to(trained.device).eval()
    return TorchAnswerer(student, trained.tokenizer, answers, trained.device)


def _statements(trained: _Trained, task: NLVR2Task) -> TorchClassifier:
    if task.stage == "text-assignment":
        raise UsageError(
            "the text-assignment stage of nlvr2 is not evaluated",
            remedy="Fine-tune from it: a spec with task: {kind: nlvr2} and init: {run: …}.",
        )
    model = build_image_pairs(trained.experiment.model, trained.vocabulary, pretrained=False)
    load_weights(model, trained.checkpoint)
    student = model.student.to(trained.device).eval()
    return TorchClassifier(student, trained.tokenizer, trained.device, STATEMENT_LABELS)
