"""Quantities that follow from a spec, without torch, data or weights, and from what a run knows of itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cbalign.experiment.experiment import Experiment
from cbalign.experiment.shapes import (
    Shapes,
    UnknownSizes,
    state_bytes,
    teacher_parameters,
    tensor_shapes,
    trainable_parameters,
)
from cbalign.models.sections.solvers import IPOTSection, SinkhornSection
from cbalign.models.sections.towers import VisionSection
from cbalign.parts.duration import amount_and_unit

MOMENTS_AND_GRADIENTS = 3  # of AdamW, as many float32 numbers for each trainable parameter
_FLOAT = 4


@dataclass(frozen=True)
class Known:
    """What a run knows that its spec does not tell; `None` where it does not know either."""

    vocabulary: int | None = None
    processes: int | None = None
    steps_per_epoch: int | None = None
    total_steps: int | None = None
    trainable: int | None = None  # parameters
    teacher: int | None = None  # parameters
    shapes: Shapes | None = None  # of a checkpoint's tensors


NOTHING = Known()


@dataclass(frozen=True)
class Quantity:
    """A derived number, and how it comes about, or why it is not known."""

    name: str
    value: float | int | None
    formula: str
    unknown: str = ""
    unit: Literal["", "bytes"] = ""


def derived_quantities(experiment: Experiment, known: Known = NOTHING) -> list[Quantity]:
    """What the settings amount to; `None` where neither the spec nor `known` tells."""
    train, model = experiment.train, experiment.model
    devices = known.processes or 1
    batch = train.global_batch_size or train.batch_size * devices
    formula = "global_batch_size, or batch_size on one device"
    if known.processes and not train.global_batch_size:
        formula = "batch_size x processes of the run"
    momentum = model.teacher.momentum
    return [
        Quantity("pairs per optimiser step", batch, formula),
        Quantity(
            "forward passes per step on one device",
            batch // (train.batch_size * devices),
            "global batch / (batch_size x devices)",
        ),
        *_length(experiment, known, batch),
        Quantity("peak learning rate per 256 pairs", train.optimizer.lr * 256 / batch, "lr x 256 / global batch"),
        _image_tokens(model.vision),
        *_sizes(experiment, known),
        Quantity("queue length in steps", model.queue.length / batch, "queue.length / global batch"),
        _epsilon(experiment),
        Quantity(
            "half-life of the teacher in steps", math.log(2) / -math.log(momentum) if momentum else 0, "ln 2 / -ln m"
        ),
    ]


def _length(experiment: Experiment, known: Known, batch: int) -> Iterator[Quantity]:
    """Steps and pairs; for a duration in epochs the length of the data has to be known."""
    amount, unit = amount_and_unit(experiment.train.duration)
    steps, formula = known.total_steps, "counted by the run"
    if unit == "steps":
        steps, formula = round(amount), "duration"
    elif steps is None and known.steps_per_epoch:
        steps, formula = round(amount * known.steps_per_epoch), "duration x steps per epoch of the run"
    why = "" if steps else f"{experiment.train.duration} of data that a spec does not count"
    yield Quantity("optimiser steps", steps, formula, why)
    yield Quantity("pairs seen", steps * batch if steps else None, "steps x global batch", why)


def _epsilon(experiment: Experiment) -> Quantity:
    name = "entropic epsilon of the transport"
    if not experiment.needs_codebook:
        return Quantity(name, None, "epsilon", "no codebook")
    match experiment.model.codebook.transport:
        case IPOTSection() as ipot:
            return Quantity(name, ipot.beta / ipot.iterations, "beta / iterations")
        case SinkhornSection() as sinkhorn:
            return Quantity(name, sinkhorn.epsilon, "epsilon")


def _sizes(experiment: Experiment, known: Known) -> Iterator[Quantity]:
    """Parameters, memory and disk, from the shapes of all tensors."""
    shapes, why = shapes_of(experiment, known)
    trainable, teacher, memory, disk = known.trainable, known.teacher, None, None
    if shapes is not None:
        trainable, teacher = trainable_parameters(experiment, shapes), teacher_parameters(shapes)
        moving = _FLOAT * trainable
        memory = state_bytes(shapes) + MOMENTS_AND_GRADIENTS * moving
        disk = state_bytes(shapes) + (MOMENTS_AND_GRADIENTS - 1) * moving
    yield Quantity("trainable parameters", trainable, "sizes of all tensors", "" if trainable else why)
    yield Quantity("parameters of the teacher", teacher, "sizes of all tensors", "" if teacher else why)
    yield Quantity("memory before activations", memory, "weights, teacher, queues, moments, gradients", why, "bytes")
    yield Quantity("checkpoint", disk, "weights, teacher, queues, moments", why, "bytes")


def shapes_of(experiment: Experiment, known: Known) -> tuple[Shapes | None, str]:
    """The tensors of an experiment, a checkpoint's own where there is one; or `None` and why they are not known."""
    if known.shapes is not None:
        return known.shapes, ""
    try:
        return tensor_shapes(experiment, known.vocabulary), ""
    except UnknownSizes as unknown:
        return None, str(unknown)


def _image_tokens(vision: VisionSection) -> Quantity:
    tokens = (vision.image_size // vision.patch) ** 2 + 1 if vision.patch else None
    why = "" if tokens else f"{vision.architecture} is not known without timm"
    return Quantity("image tokens", tokens, "(image_size / patch_size)^2 + 1", why)
