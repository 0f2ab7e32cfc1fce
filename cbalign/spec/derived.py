"""Quantities that follow from a spec alone, without torch, data or weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cbalign.spec.duration import amount_and_unit
from cbalign.spec.experiment import Experiment
from cbalign.spec.model import IPOTSection, SinkhornSection, VisionSection


@dataclass(frozen=True)
class Quantity:
    """A derived number and how it comes about."""

    name: str
    value: float | int | None
    formula: str


def derived_quantities(experiment: Experiment) -> list[Quantity]:
    """What the settings amount to; `None` where the spec alone does not tell."""
    train, model = experiment.train, experiment.model
    batch = train.global_batch_size or train.batch_size
    steps = _steps(train.duration)
    transport = model.codebook.transport
    match transport:
        case IPOTSection():
            epsilon, formula = transport.beta / transport.iterations, "beta / iterations"
        case SinkhornSection():
            epsilon, formula = transport.epsilon, "epsilon"
    momentum = model.teacher.momentum
    return [
        Quantity("pairs per optimiser step", batch, "global_batch_size, or batch_size on one device"),
        Quantity("forward passes per step on one device", batch // train.batch_size, "global batch / batch_size"),
        Quantity("optimiser steps", steps, "duration, where it is in steps"),
        Quantity("pairs seen", steps * batch if steps else None, "steps x global batch"),
        Quantity("peak learning rate per 256 pairs", train.optimizer.lr * 256 / batch, "lr x 256 / global batch"),
        Quantity("image tokens", _image_tokens(model.vision), "(image_size / patch_size)^2 + 1"),
        Quantity("queue length in steps", model.queue.length / batch, "queue.length / global batch"),
        Quantity("entropic epsilon of the transport", epsilon if experiment.needs_codebook else None, formula),
        Quantity(
            "half-life of the teacher in steps", math.log(2) / -math.log(momentum) if momentum else 0, "ln 2 / -ln m"
        ),
    ]


def _steps(duration: str) -> int | None:
    amount, unit = amount_and_unit(duration)
    return round(amount) if unit == "steps" else None


def _image_tokens(vision: VisionSection) -> int | None:
    return (vision.image_size // vision.patch) ** 2 + 1 if vision.patch else None
