"""What fine-tuning has in common for all tasks: a student and its teacher, distillation, batches, a tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from cbalign.data.batch import TensorBatch
from cbalign.data.items import Item
from cbalign.data.loader import Loader
from cbalign.data.source import Source, fingerprint
from cbalign.data.text import Tokenizer
from cbalign.engine.distribution import World
from cbalign.engine.task import ParameterGroup, Progress
from cbalign.experiment.experiment import Experiment
from cbalign.models.image_pairs import ImagePairNetwork
from cbalign.models.image_text import ImageTextEncoder
from cbalign.models.momentum import Distilled
from cbalign.parts import SourceSection
from cbalign.tasks.parameters import tower_groups

B = TypeVar("B", bound=TensorBatch)
N = TypeVar("N", bound=ImageTextEncoder | ImagePairNetwork)
ItemT = TypeVar("ItemT", bound=Item)
Facts = Mapping[str, object]


@dataclass(frozen=True)
class Setup(Generic[N, B]):
    """The parts of a fine-tuning.

    `model` lies on its device. `facts` gives more for the run's manifest: what it starts from and what its data are.
    """

    experiment: Experiment
    model: Distilled[N]
    tokenizer: Tokenizer
    loader: Loader[B]
    world: World
    facts: Callable[[], Facts]


class FineTuning(Generic[N, B]):
    """Keeps `cbalign.engine.task.Task`, but for `step` and `evaluate`, which are the task's own."""

    def __init__(self, setup: Setup[N, B]) -> None:
        self.model = setup.model
        self.tokenizer = setup.tokenizer
        self.world = setup.world
        self._loader = setup.loader
        self._facts = setup.facts
        self._teacher = setup.experiment.model.teacher
        self._optimizer = setup.experiment.train.optimizer

    @property
    def batches_per_epoch(self) -> int:
        """Micro-batches per rank in one epoch."""
        return self._loader.steps_per_epoch

    def batches(self, start: int) -> Iterator[B]:
        """Micro-batches from number `start` on, without end."""
        return self._loader.batches(start)

    def parameter_groups(self, weight_decay: float) -> Sequence[ParameterGroup]:
        """Matrices decay, vectors do not. Towers have their own learning rates."""
        student = self.model.student
        return tower_groups(self.model, student.vision, student.text, self._optimizer, weight_decay)

    def before_step(self, progress: Progress) -> None:
        """The teacher follows the student."""
        self.model.teacher.update(self.model.student)

    def after_step(self, progress: Progress) -> None:
        """Nothing is left to do."""

    def distillation(self, progress: Progress) -> float:
        """α, growing linearly from 0 over the first epochs (ALBEF, NLVR.py, VE.py, VQA.py)."""
        return self._teacher.distillation * progress.ramp(self._teacher.ramp_epochs)

    def describe(self) -> Facts:
        """Parameter counts, what it starts from, and the fingerprints of the data."""
        return {
            "parameters": {
                "trainable": sum(p.numel() for p in self.model.parameters() if p.requires_grad),
                "teacher": sum(p.numel() for p in self.model.teacher.parameters()),
            },
            "vocabulary": self.tokenizer.vocabulary_size,
            **self._facts(),
        }

    def save_assets(self, folder: Path) -> None:
        """The tokenizer."""
        self.tokenizer.save(folder)


def data_facts(sources: Mapping[str, Source[Item]]) -> Facts:
    """What a manifest says of the sources of items."""
    return {
        "data": {split: source.describe() for split, source in sources.items()},
        "fingerprints": {split: fingerprint(source) for split, source in sources.items()},
    }


def open_splits(experiment: Experiment, opener: Callable[[SourceSection], Source[ItemT]]) -> dict[str, Source[ItemT]]:
    """The sources of `train` and of each split that an evaluation names."""
    splits = ["train", *(section.on for section in experiment.evaluate)]
    return {split: opener(getattr(experiment.data, split)) for split in dict.fromkeys(splits)}
