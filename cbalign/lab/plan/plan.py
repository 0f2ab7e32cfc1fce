"""Plan a training before it starts: its size, cost and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from torch import nn

from cbalign.data.image import Preprocessing
from cbalign.data.source import open_source
from cbalign.data.text import Tokenizer
from cbalign.data.vocabulary import tokenizer_at_hand
from cbalign.engine.precision import Precision
from cbalign.engine.schedule import Schedule
from cbalign.errors import CbalignError
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.load import LoadedExperiment
from cbalign.experiment.training import kept_checkpoints
from cbalign.lab.plan.captions import CaptionLengths, measure_captions
from cbalign.lab.plan.features import FeatureCost, measure_features
from cbalign.lab.plan.files import ReadFile, files_read
from cbalign.lab.plan.gpus import GPU, UTILISATION
from cbalign.lab.plan.memory import TrainingMemory, account, checkpoint_bytes
from cbalign.lab.plan.step import StepCost, measure_step, planned_precision
from cbalign.lab.plan.timing import Length, learning_rate, training_length
from cbalign.lab.plan.training import TrainingTexts, on_meta, training_texts
from cbalign.models.bert import FusionEncoder
from cbalign.models.codebook import Codebook
from cbalign.models.preprocessing import preprocessing_of
from cbalign.models.recorded import tensor_table
from cbalign.models.tower import TextTower, VisionTower
from cbalign.tasks.evaluation_data import splits_of_evaluations
from cbalign.tasks.initialisation import inherited_tokenizer

RATES = 50  # points of the learning-rate curve in JSON


@dataclass(frozen=True)
class Sizes:
    """Numbers of parameters by part; the teacher's are not trained."""

    image_tower: int
    text_tower: int
    fusion: int
    heads: int  # projections, masked-language head, match head, temperature; classifier or answer decoder
    codebook: int
    frozen: int  # of towers, not trained
    teacher: int

    @property
    def trainable(self) -> int:
        """Parameters that the optimiser updates."""
        return self.image_tower + self.text_tower + self.fusion + self.heads + self.codebook


@dataclass(frozen=True)
class Disk:
    """Bytes on disk: of one checkpoint, and at most, while a new checkpoint is written."""

    checkpoint: int
    peak: int


@dataclass(frozen=True)
class OnGPU:
    """A training on GPUs of one kind; hours are None if the number of steps is not known."""

    gpu: GPU
    fits: bool
    hours: float | None


@dataclass(frozen=True)
class TrainingPlan:
    """The plan of a training on `devices` devices; `step` and `memory` are those of one device."""

    experiment: Experiment
    devices: int
    sizes: Sizes
    preprocessing: Preprocessing
    captions: CaptionLengths
    step: StepCost
    memory: TrainingMemory
    length: Length
    schedule: Schedule | None
    disk: Disk
    features: FeatureCost | None  # of a frozen image tower, where they are kept on disk
    gpus: tuple[OnGPU, ...]
    reads: tuple[ReadFile, ...]
    why_unknown: str | None  # why the data were not read

    @property
    def precision(self) -> Precision:
        """Precision of the forward and backward passes."""
        return planned_precision(self.experiment)

    @property
    def step_operations(self) -> int:
        """Floating-point operations of an optimiser step, over all devices."""
        return self.step.operations * self.length.micro_steps * self.devices

    def to_json(self) -> dict[str, object]:
        """Return the plan as plain data, with derived numbers."""
        length = self.length
        return {
            "name": self.experiment.name,
            "devices": self.devices,
            "parameters": {"trainable": self.sizes.trainable, **asdict(self.sizes)},
            "preprocessing": asdict(self.preprocessing),
            "captions": asdict(self.captions),
            "operations": {
                "per_step": self.step_operations,
                "per_pair": self.step.operations / self.experiment.train.batch_size,
                "per_pass": {name: value for name, value in asdict(self.step).items() if name != "working_bytes"},
            },
            "memory_bytes": {**asdict(self.memory), "total": self.memory.total},
            "length": {**asdict(length), "samples": length.samples},
            "learning_rate": None if self.schedule is None else self._rates(self.schedule),
            "checkpoint_bytes": self.disk.checkpoint,
            "disk_bytes": self.disk.peak,
            "features": None if self.features is None else self.features.to_json(),
            "utilisation": UTILISATION,
            "gpus": [
                {
                    "name": each.gpu.name,
                    "memory_bytes": each.gpu.memory,
                    "usable_bytes": each.gpu.usable,
                    "fits": each.fits,
                    "hours": each.hours,
                }
                for each in self.gpus
            ],
            "reads": [asdict(file) for file in self.reads],
            "unknown": self.why_unknown,
        }

    def _rates(self, schedule: Schedule) -> list[tuple[int, float]]:
        """Sample the learning rate over the training, including the first step, the last step and the peak."""
        last = max(0, (self.length.total_steps or 1) - 1)
        steps = {round(i * last / (RATES - 1)) for i in range(RATES)} | {min(schedule.warmup_steps, last)}
        return [(step, schedule(step)) for step in sorted(steps)]


def make_plan(
    loaded: LoadedExperiment, gpus: Sequence[GPU], *, devices: int = 1, pairs: int | None = None
) -> TrainingPlan:
    """Plan the training that a spec describes, with its model on the meta device.

    Args:
        loaded: the spec.
        gpus: GPUs for which the plan says whether the training fits and how long it takes.
        devices: number of devices that train together.
        pairs: size of the training data; None counts them if they are available.

    Raises:
        CbalignError: the sizes are inconsistent, or the text architecture is not available on this machine.
    """
    return Planner(loaded, devices=devices, pairs=pairs).plan(gpus)


class Planner:
    """Plans one spec with various batch sizes; reads the data once.

    Args:
        loaded: the spec.
        devices: number of devices that train together.
        pairs: size of the training data; None counts them if they are available.
    """

    def __init__(self, loaded: LoadedExperiment, *, devices: int = 1, pairs: int | None = None) -> None:
        self.experiment = loaded.experiment
        self.devices = devices
        self._loaded = loaded
        self._texts, self._why = _texts(self.experiment)
        self._tokenizer = _tokenizer(self.experiment, self._texts)
        self.pairs = self._texts.count if pairs is None and self._texts is not None else pairs
        self._evaluated = _evaluated_items(self.experiment) if self._texts is not None else None

    def plan(self, gpus: Sequence[GPU], *, batch_size: int | None = None) -> TrainingPlan:
        """Plan the training with `batch_size` pairs per device instead of the spec's.

        Raises:
            CbalignError: the sizes are inconsistent, or the text architecture is not available on this machine.
        """
        experiment = self.experiment
        if batch_size is not None:
            train = experiment.train.model_copy(update={"batch_size": batch_size})
            experiment = experiment.model_copy(update={"train": train})
        captions = self._captions(experiment.train.batch_size)
        length = training_length(experiment.train, pairs=self.pairs, devices=self.devices)
        model = on_meta(experiment, None if self._tokenizer is None else self._tokenizer.vocabulary_size)
        sizes = _sizes(model)
        checkpoint = checkpoint_bytes(model)
        step = measure_step(experiment, model, captions, processes=self.devices, accumulates=length.micro_steps > 1)
        memory = account(model, step, processes=self.devices)
        fresh = on_meta(experiment, None if self._tokenizer is None else self._tokenizer.vocabulary_size)
        made = TrainingPlan(
            experiment=experiment,
            devices=self.devices,
            sizes=sizes,
            preprocessing=preprocessing_of(model),
            captions=captions,
            step=step,
            memory=memory,
            length=length,
            schedule=learning_rate(experiment.train, length),
            disk=Disk(checkpoint, checkpoint * (kept_checkpoints(experiment.train) + 1)),
            features=measure_features(experiment, fresh, items=self.pairs, evaluated=self._evaluated),
            gpus=(),
            reads=tuple(files_read(self._loaded)),
            why_unknown=self._why if length.pairs is None else None,
        )
        return _on_gpus(made, gpus)

    def _captions(self, batch_size: int) -> CaptionLengths:
        if self._texts is None or self._tokenizer is None:
            return CaptionLengths.assumed(self.experiment.model.text.max_tokens)
        return measure_captions(self._texts.count, self._texts.text, self._tokenizer, batch_size)


def _on_gpus(plan: TrainingPlan, gpus: Sequence[GPU]) -> TrainingPlan:
    steps, precision = plan.length.total_steps, plan.precision

    def on(gpu: GPU) -> OnGPU:
        hours = None if steps is None else gpu.hours(plan.step_operations * steps / plan.devices, precision)
        if hours is not None and plan.features is not None and plan.features.operations is not None:
            hours += gpu.hours(plan.features.operations / plan.devices, "fp32")
        return OnGPU(gpu, plan.memory.total <= gpu.usable, hours)

    return replace(plan, gpus=tuple(map(on, gpus)))


def _texts(experiment: Experiment) -> tuple[TrainingTexts | None, str | None]:
    try:
        return training_texts(experiment.data, experiment.task.items), None
    except CbalignError as error:
        return None, error.message


def _evaluated_items(experiment: Experiment) -> int | None:
    """The number of items of the splits that are evaluated, whose images a frozen tower encodes as well."""
    if not experiment.model.vision.is_frozen:
        return 0
    try:
        splits = splits_of_evaluations(experiment)
        return sum(len(open_source(getattr(experiment.data, split), experiment.task.items)) for split in splits)
    except CbalignError:
        return None


def _tokenizer(experiment: Experiment, texts: TrainingTexts | None) -> Tokenizer | None:
    if (inherited := inherited_tokenizer(experiment)) is not None:
        return inherited
    return None if texts is None else tokenizer_at_hand(experiment.model.text, texts.all)


def _sizes(model: nn.Module) -> Sizes:
    table = tensor_table(model)
    parts = table.trainable_by_part()
    vision, text, codes = (parts.get(cls.part_name, 0) for cls in (VisionTower, TextTower, Codebook))
    fusion = parts.get(FusionEncoder.part_name, 0)
    return Sizes(
        image_tower=vision,
        text_tower=text,
        fusion=fusion,
        heads=sum(parts.values()) - vision - text - fusion - codes,
        codebook=codes,
        frozen=table.frozen_parameters,
        teacher=table.teacher_parameters or 0,
    )
