"""All that can be told about a training before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from cbalign.data.source import PairSource, open_source
from cbalign.data.text import Tokenizer
from cbalign.engine.schedule import Schedule
from cbalign.errors import CbalignError
from cbalign.models.alignment import AlignmentModel
from cbalign.models.build import build_model, build_tokenizer
from cbalign.models.pretrained import bert_config
from cbalign.plan.captions import CaptionLengths, measure_captions
from cbalign.plan.files import ReadFile, files_read
from cbalign.plan.gpus import GPU, UTILISATION
from cbalign.plan.memory import Memory, account, checkpoint_bytes
from cbalign.plan.step import StepCost, measure_step
from cbalign.plan.timing import Length, learning_rate, training_length
from cbalign.spec.architectures import MINILM
from cbalign.spec.experiment import Experiment
from cbalign.spec.load import LoadedExperiment


@dataclass(frozen=True)
class Sizes:
    """Numbers of parameters, by part; the teacher's are not trained."""

    image_tower: int
    text_tower: int
    fusion: int
    heads: int  # projections, masked-language head, match head, temperature
    codebook: int
    teacher: int

    @property
    def trainable(self) -> int:
        """What the optimiser moves."""
        return self.image_tower + self.text_tower + self.fusion + self.heads + self.codebook


@dataclass(frozen=True)
class Disk:
    """Bytes that checkpoints take: one of them, and all that lie there at once while one more is written."""

    checkpoint: int
    peak: int


@dataclass(frozen=True)
class OnGPU:
    """A training on so many GPUs of one kind; hours are None where the number of steps is not known."""

    gpu: GPU
    fits: bool
    hours: float | None


@dataclass(frozen=True)
class Plan:
    """The plan of a training on `devices` devices. `step` and `memory` are of one device."""

    experiment: Experiment
    devices: int
    sizes: Sizes
    captions: CaptionLengths
    step: StepCost
    memory: Memory
    length: Length
    schedule: Schedule | None
    disk: Disk
    gpus: tuple[OnGPU, ...]
    reads: tuple[ReadFile, ...]
    why_unknown: str | None  # why the data were not looked at

    @property
    def step_operations(self) -> int:
        """Floating-point operations of an optimiser step, over all devices."""
        return self.step.operations * self.length.micro_steps * self.devices

    def to_json(self) -> dict[str, object]:
        """The same as plain data, with derived numbers."""
        length = self.length
        return {
            "name": self.experiment.name,
            "devices": self.devices,
            "parameters": {"trainable": self.sizes.trainable, **asdict(self.sizes)},
            "captions": asdict(self.captions),
            "operations": {
                "per_step": self.step_operations,
                "per_pair": self.step.operations / self.experiment.train.batch_size,
                "per_pass": {name: value for name, value in asdict(self.step).items() if name != "working_bytes"},
            },
            "memory_bytes": {**asdict(self.memory), "total": self.memory.total},
            "length": {**asdict(length), "samples": length.samples},
            "checkpoint_bytes": self.disk.checkpoint,
            "disk_bytes": self.disk.peak,
            "utilisation": UTILISATION,
            "gpus": [
                {"name": each.gpu.name, "memory_bytes": each.gpu.memory, "fits": each.fits, "hours": each.hours}
                for each in self.gpus
            ],
            "reads": [asdict(file) for file in self.reads],
            "unknown": self.why_unknown,
        }


def make_plan(loaded: LoadedExperiment, gpus: Sequence[GPU], *, devices: int = 1, pairs: int | None = None) -> Plan:
    """Plan the training that a spec describes, with its model on the meta device.

    Args:
        loaded: the spec.
        gpus: for each of these, whether the training fits and how long it takes.
        devices: how many train together.
        pairs: size of the training data; None counts them where they are at hand.

    Raises:
        CbalignError: sizes that do not go together, or a text architecture that is not known here.
    """
    experiment = loaded.experiment
    source, why = _source(experiment)
    tokenizer = _tokenizer(experiment, source)
    captions = (
        measure_captions(source, tokenizer, experiment.train.batch_size)
        if source is not None and tokenizer is not None
        else CaptionLengths.assumed(experiment.model.text.max_tokens)
    )
    length = training_length(
        experiment.train, pairs=len(source) if pairs is None and source is not None else pairs, devices=devices
    )
    with torch.device("meta"):
        model = build_model(experiment, _vocabulary(experiment, tokenizer), pretrained=False)
    sizes = _sizes(model)
    checkpoint = checkpoint_bytes(model)
    step = measure_step(experiment, model, captions, processes=devices, accumulates=length.micro_steps > 1)
    memory = account(model, step, processes=devices)
    plan = Plan(
        experiment=experiment,
        devices=devices,
        sizes=sizes,
        captions=captions,
        step=step,
        memory=memory,
        length=length,
        schedule=learning_rate(experiment.train, length),
        disk=Disk(checkpoint, checkpoint * (experiment.train.keep_checkpoints + 1)),
        gpus=(),
        reads=tuple(files_read(loaded)),
        why_unknown=why if length.pairs is None else None,
    )
    return _on_gpus(plan, gpus)


def _on_gpus(plan: Plan, gpus: Sequence[GPU]) -> Plan:
    steps, precision = plan.length.total_steps, plan.experiment.train.precision

    def on(gpu: GPU) -> OnGPU:
        hours = None if steps is None else gpu.hours(plan.step_operations * steps / plan.devices, precision)
        return OnGPU(gpu, plan.memory.total <= gpu.memory, hours)

    return replace(plan, gpus=tuple(map(on, gpus)))


def _source(experiment: Experiment) -> tuple[PairSource | None, str | None]:
    try:
        return open_source(experiment.data.train), None
    except CbalignError as error:
        return None, error.message


def _tokenizer(experiment: Experiment, source: PairSource | None) -> Tokenizer | None:
    """The tokenizer, where it needs nothing from a network."""
    section = experiment.model.text
    if source is None or (section.tokenizer == "pretrained" and not _is_local(section.architecture)):
        return None
    try:
        return build_tokenizer(section, lambda: _captions(source))
    except CbalignError:
        return None


def _captions(source: PairSource) -> list[str]:
    return [caption for i in range(len(source)) for caption in source.entry(i).captions]


def _is_local(architecture: str) -> bool:
    return architecture == MINILM or Path(architecture).is_dir()


def _vocabulary(experiment: Experiment, tokenizer: Tokenizer | None) -> int:
    if tokenizer is not None:
        return tokenizer.vocabulary_size
    section = experiment.model.text
    return section.vocabulary if section.tokenizer == "captions" else bert_config(section.architecture).vocabulary


def _sizes(model: AlignmentModel) -> Sizes:
    student, codebook = model.student, model.codebook

    def count(module: torch.nn.Module | None) -> int:
        return 0 if module is None else sum(p.numel() for p in module.parameters())

    vision, text, fusion = count(student.vision), count(student.text), count(student.fusion)
    teacher, codes = count(model.teacher), count(codebook)
    return Sizes(
        image_tower=vision,
        text_tower=text,
        fusion=fusion,
        heads=count(model) - teacher - vision - text - fusion - codes,
        codebook=codes,
        teacher=teacher,
    )
