"""Pretraining and retrieval, opened: sources, tokenizer, model, loader, evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch

from cbalign.data.batch import Batch, PairCollation
from cbalign.data.items import Pair
from cbalign.data.loader import Loader
from cbalign.data.source import Source, fingerprint, open_source, texts_of
from cbalign.data.text import Tokenizer
from cbalign.engine.distribution import World
from cbalign.engine.task import ParameterGroup, Progress, StepOutput
from cbalign.evaluation.retrieval import evaluate_retrieval
from cbalign.evaluation.sections.evaluations import RetrievalEvaluation
from cbalign.experiment.experiment import Experiment
from cbalign.models.encoder import TorchEncoder
from cbalign.models.momentum import teacher_parameters
from cbalign.tasks.align.learner import AlignmentLearner
from cbalign.tasks.align.network import AlignmentModel, build_model
from cbalign.tasks.batches import make_loader
from cbalign.tasks.start import Start


class AlignmentTraining:
    """A learner with its data and its evaluation.

    Args:
        experiment: the whole spec.
        learner: its model is on its device.
        tokenizer: of the text tower.
        loader: this rank's micro-batches.
        sources: the pairs of each split that an evaluation names, and of `train`.
        world: the processes that train together.
        facts: additional facts for the run's manifest.
    """

    def __init__(
        self,
        experiment: Experiment,
        learner: AlignmentLearner,
        tokenizer: Tokenizer,
        loader: Loader[Batch],
        sources: Mapping[str, Source[Pair]],
        world: World,
        facts: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.learner = learner
        self._evaluations = [e for e in experiment.evaluate if isinstance(e, RetrievalEvaluation)]
        self._corrupt_limit = experiment.data.corrupt_limit
        self._tokenizer = tokenizer
        self._loader = loader
        self._sources = sources
        self._world = world
        self._facts = facts

    # The engine still asks a task for what its learner has.
    @property
    def model(self) -> AlignmentModel:
        """See `AlignmentLearner`."""
        return self.learner.model

    def parameter_groups(self, weight_decay: float) -> Sequence[ParameterGroup]:
        """See `AlignmentLearner`."""
        return self.learner.parameter_groups()

    def before_step(self, progress: Progress) -> None:
        """See `AlignmentLearner`."""
        self.learner.before_step(progress)

    def step(self, batch: Batch, progress: Progress) -> StepOutput:
        """See `AlignmentLearner`."""
        return self.learner.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """See `AlignmentLearner`."""
        self.learner.after_step(progress)

    @property
    def batches_per_epoch(self) -> int:
        """Micro-batches per rank in one epoch."""
        return self._loader.steps_per_epoch

    def batches(self, start: int) -> Iterator[Batch]:
        """Yield micro-batches from number `start` on, without end."""
        return self._loader.batches(start)

    def evaluate(self, progress: Progress) -> Mapping[str, float]:
        """Measure retrieval on the splits that the spec lists, without intervals."""
        encoder = TorchEncoder(self.model, self._tokenizer, self._world.device)
        metrics: dict[str, float] = {}
        for section in self._evaluations:
            quick = section.model_copy(update={"bootstrap": 0})
            for result in evaluate_retrieval(
                encoder, self._sources[section.on], quick, corrupt_limit=self._corrupt_limit, peers=self._world
            ):
                metrics |= {f"{section.on}/{name}": value for name, value in result.flat().items()}
        return metrics

    def describe(self) -> Mapping[str, object]:
        """Return parameter counts and the fingerprints of the data."""
        return {
            "parameters": {
                "trainable": sum(p.numel() for p in self.model.parameters() if p.requires_grad),
                "teacher": sum(p.numel() for p in teacher_parameters(self.model)),
            },
            "vocabulary": self._tokenizer.vocabulary_size,
            "data": {split: source.describe() for split, source in self._sources.items()},
            "fingerprints": {split: fingerprint(source) for split, source in self._sources.items()},
            **self._facts,
        }

    def save_assets(self, folder: Path) -> None:
        """Save the tokenizer."""
        self._tokenizer.save(folder)


def open_alignment(start: Start, world: World) -> AlignmentTraining:
    """Open pretraining or retrieval, ready to train."""
    experiment = start.experiment
    for section in experiment.evaluate:
        if isinstance(section, RetrievalEvaluation) and section.zero_shot:
            start.require_unseen(getattr(experiment.data, section.on))
    train = open_source(experiment.data.train, "pairs")
    sources: dict[str, Source[Pair]] = {"train": train}
    for section in experiment.evaluate:
        sources.setdefault(section.on, open_source(getattr(experiment.data, section.on), "pairs"))
    tokenizer = start.tokenizer(lambda: texts_of(train))
    # One seed for all ranks: they start from the same weights.
    torch.manual_seed(experiment.train.seed)
    model = build_model(experiment, tokenizer.info, pretrained=start.published)
    start.fill(model)
    loader = make_loader(PairCollation(train, tokenizer), experiment, world)
    learner = open_learner(experiment, model.to(world.device), world)
    return AlignmentTraining(experiment, learner, tokenizer, loader, sources, world, start.facts())


def open_learner(experiment: Experiment, model: AlignmentModel, world: World) -> AlignmentLearner:
    """Return the learner of a model that was built for this experiment."""
    return AlignmentLearner(
        model, experiment.objectives.active(), experiment.model.teacher, experiment.train.optimizer, world
    )
