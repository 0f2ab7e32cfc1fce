"""What the study compares: data sets, methods, the settings that are tuned, and ablations.

All methods train the same projections on the same frozen towers for the same number of steps; see the specs in this
folder.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
DATA_SETS = {"openmoji": "OpenMoji drawings", "photos": "photographs", "scenes": "drawn scenes"}
TRIALS = 6
SEEDS = 5

Changes = Mapping[str, Any]

SHARED: dict[str, tuple[Any, ...]] = {
    "train.optimizer.lr": (5e-4, 1e-3, 1.5e-3, 3e-3),
    "model.projection.dropout": (0.2, 0.5),
    "model.temperature.initial": (0.03, 0.07),
}
"""Settings that every method tunes."""

TEACHER: dict[str, tuple[Any, ...]] = {
    "model.teacher.momentum": (0.9, 0.98),
    "model.teacher.distillation": (0.0, 0.4),
}
CODEBOOK: dict[str, tuple[Any, ...]] = {
    "model.codebook.size": (256, 1024),
    "model.codebook.temperature": (0.05, 0.1),
}


@dataclass(frozen=True)
class Method:
    """A method as changes of a data set's spec.

    Args:
        title: its name in tables.
        about: what it is, in one line.
        changes: settings that make it.
        space: settings that it tunes besides `SHARED`.
        codes: whether it has a codebook to rank by.
    """

    title: str
    about: str
    changes: Changes
    space: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    codes: bool = False

    @property
    def protocols(self) -> list[str]:
        """What it is evaluated by."""
        return ["dual", "code"] if self.codes else ["dual"]


_NO_CODES = {"objectives.codebook.weight": 0}
_NO_TEACHER = {"objectives.contrastive.weight": 0}
_CLIP = {"objectives.clip.weight": 1, **_NO_TEACHER}

METHODS = {
    "clip": Method("CLIP", "softmax contrast within the batch, no teacher", {**_CLIP, **_NO_CODES}),
    "siglip": Method(
        "SigLIP",
        "sigmoid contrast within the batch, no teacher",
        {"objectives.siglip.weight": 1, **_NO_TEACHER, **_NO_CODES},
        {"objectives.siglip.bias": (-10.0, -5.5)},
    ),
    "albef": Method(
        "ALBEF",
        "contrast with a momentum teacher, distillation",
        {"objectives.contrastive.intra_modal": False, **_NO_CODES},
        TEACHER,
    ),
    "tcl": Method("TCL", "ALBEF and contrast within each modality", _NO_CODES, TEACHER),
    "codis": Method("CODIS", "TCL's contrasts and the codebook", {}, {**TEACHER, **CODEBOOK}, codes=True),
    "clip-codes": Method("CLIP + codebook", "the codebook added to CLIP", _CLIP, {**TEACHER, **CODEBOOK}, codes=True),
    "clip-usage": Method(
        "CLIP + codebook, free marginals",
        "as before; the mass of codes follows their usage, relaxed",
        {
            **_CLIP,
            "model.codebook.transport.marginals.codes": "usage",
            "model.codebook.transport.marginals.relaxation": 1.0,
        },
        {**TEACHER, **CODEBOOK},
        codes=True,
    ),
}
PUBLISHED = ("clip", "siglip", "albef", "tcl", "codis")
"""The methods of the literature; the others are variants that the study tries."""

ABLATED = "codis"
ABLATIONS: dict[str, Changes] = {
    "K = 64": {"model.codebook.size": 64},
    "K = 256": {"model.codebook.size": 256},
    "K = 1,024": {"model.codebook.size": 1024},
    "K = 4,096": {"model.codebook.size": 4096},
    "target: same": {"objectives.codebook.target": "same"},
    "target: both": {"objectives.codebook.target": "both"},
    "queue of 1,024": {"model.queue.length": 1024},
    "Sinkhorn": {"model.codebook.transport": {"solver": "sinkhorn"}},
    "centring": {"model.codebook.transport": {"solver": "centring"}, "objectives.codebook.transport_weight": 0},
    "marginals by usage": {"model.codebook.transport.marginals.codes": "usage"},
    "relaxed marginals": {"model.codebook.transport.marginals.relaxation": 1.0},
    "no transport cost": {"objectives.codebook.transport_weight": 0},
    "no intra-modal contrast": {"objectives.contrastive.intra_modal": False},
    "no distillation": {"model.teacher.distillation": 0.0},
    "distillation 0.4": {"model.teacher.distillation": 0.4},
    "frozen prototypes": {"model.codebook.freeze_steps": 200},
}
"""Changes of the tuned `ABLATED`, one at a time."""


def base(data_set: str) -> str:
    """Return the path of a data set's spec."""
    return str(FOLDER / f"{data_set}.yaml")


def trials(method: str) -> list[dict[str, Any]]:
    """Return the settings that a method tries: those of the specs, then draws; equal draws of `SHARED` for all."""
    shared, own = random.Random("shared"), random.Random(method)
    found: list[dict[str, Any]] = [{}]
    while len(found) < TRIALS:
        drawn = {name: shared.choice(values) for name, values in SHARED.items()}
        found.append(drawn | {name: own.choice(values) for name, values in METHODS[method].space.items()})
    return found
