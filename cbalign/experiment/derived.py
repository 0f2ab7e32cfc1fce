"""Quantities derived from the settings of a spec and from facts about its model or run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from cbalign.experiment.experiment import Experiment
from cbalign.experiment.tensors import TensorTable
from cbalign.parts.duration import amount_and_unit

MOMENTS_AND_GRADIENTS = 3  # AdamW: float32 numbers per trainable parameter
_FLOAT = 4


@dataclass(frozen=True)
class Known:
    """Facts about an experiment beyond its settings; `None` if unknown.

    Args:
        vocabulary: number of tokens in the tokenizer's vocabulary.
        processes: number of processes of the training.
        steps_per_epoch, total_steps: as the run counted them.
        trainable, teacher: parameter counts recorded by the run.
        tensors: the model's tensors: recorded, read from a checkpoint, or taken from the model built from the spec.
        largest_vocabulary: the vocabulary size that `tensors` assume, if the actual size is unknown.
        no_tensors: why `tensors` is None.
    """

    vocabulary: int | None = None
    processes: int | None = None
    steps_per_epoch: int | None = None
    total_steps: int | None = None
    trainable: int | None = None
    teacher: int | None = None
    tensors: TensorTable | None = None
    largest_vocabulary: int | None = None
    no_tensors: str = ""


NOTHING = Known()


@dataclass(frozen=True)
class Quantity:
    """A derived number with its formula, or the reason why it is unknown."""

    name: str
    value: float | int | None
    formula: str
    unknown: str = ""
    unit: Literal["", "bytes"] = ""


def derived_quantities(experiment: Experiment, known: Known = NOTHING) -> list[Quantity]:
    """Return the quantities that follow from the settings and the known facts."""
    train, model = experiment.train, experiment.model
    devices = known.processes or 1
    batch = train.global_batch_size or train.batch_size * devices
    formula = "global_batch_size, or batch_size on one device"
    if known.processes and not train.global_batch_size:
        formula = "batch_size x processes of the run"
    momentum = model.teacher.follows
    captions = experiment.data.captions_per_image
    pairs = batch * captions
    return [
        Quantity("pairs per optimiser step", pairs, formula if captions == 1 else f"({formula}) x captions_per_image"),
        Quantity(
            "forward passes per step on one device",
            batch // (train.batch_size * devices),
            "global batch / (batch_size x devices)",
        ),
        *_length(experiment, known, batch),
        Quantity("peak learning rate per 256 pairs", train.optimizer.lr * 256 / batch, "lr x 256 / global batch"),
        _image_tokens(experiment),
        *_sizes(experiment, known),
        Quantity(
            "queue length in steps",
            model.queue.length / pairs,
            "queue.length / global batch" if captions == 1 else "queue.length / pairs per step",
        ),
        _epsilon(experiment),
        Quantity(
            "half-life of the teacher in steps", math.log(2) / -math.log(momentum) if momentum else 0, "ln 2 / -ln m"
        ),
    ]


def _length(experiment: Experiment, known: Known, batch: int) -> Iterator[Quantity]:
    """Yield steps and pairs; a duration in epochs requires the size of the data."""
    amount, unit = amount_and_unit(experiment.train.duration)
    steps, formula = known.total_steps, "counted by the run"
    if unit == "steps":
        steps, formula = round(amount), "duration"
    elif steps is None and known.steps_per_epoch:
        steps, formula = round(amount * known.steps_per_epoch), "duration x steps per epoch of the run"
    why = "" if steps else f"{experiment.train.duration}, but a spec does not contain the size of the data"
    yield Quantity("optimiser steps", steps, formula, why)
    yield Quantity("pairs seen", steps * batch if steps else None, "steps x global batch", why)


def _epsilon(experiment: Experiment) -> Quantity:
    name = "entropic epsilon of the transport"
    if "codebook" not in experiment.capabilities:
        return Quantity(name, None, "epsilon", "no codebook")
    found = experiment.model.codebook.transport.entropic_epsilon
    if found is None:
        return Quantity(name, None, "epsilon", "the solver has no entropic regularisation")
    value, formula = found
    return Quantity(name, value, formula)


def _sizes(experiment: Experiment, known: Known) -> Iterator[Quantity]:
    """Yield parameters, memory and disk space, from the sizes of all tensors."""
    table, why = known.tensors, known.no_tensors
    if known.largest_vocabulary is not None:
        table, why = None, f"the vocabulary is trained on the captions, at most {known.largest_vocabulary:,} tokens"
    trainable, teacher, memory, disk = known.trainable, known.teacher, None, None
    if table is not None:
        trainable = table.trainable_parameters if table.trainable_parameters is not None else trainable
        teacher = table.teacher_parameters if table.teacher_parameters is not None else teacher
        if trainable is not None:
            memory = table.bytes + MOMENTS_AND_GRADIENTS * _FLOAT * trainable
            disk = table.bytes + (MOMENTS_AND_GRADIENTS - 1) * _FLOAT * trainable
        else:
            why = "the run did not record which tensors are trained"
    for found in (
        Quantity("trainable parameters", trainable, "sizes of all tensors", why),
        Quantity("parameters of the teacher", teacher, "sizes of all tensors", why),
        Quantity("memory before activations", memory, "weights, teacher, queues, moments, gradients", why, "bytes"),
        Quantity("checkpoint", disk, "weights, teacher, queues, moments", why, "bytes"),
    ):
        yield found if found.value is None else replace(found, unknown="")


def _image_tokens(experiment: Experiment) -> Quantity:
    tokens = experiment.model.vision.token_count()
    why = "" if tokens else "the settings of the image tower do not determine the number of image tokens"
    return Quantity("image tokens", tokens, "tokens of one image", why)
