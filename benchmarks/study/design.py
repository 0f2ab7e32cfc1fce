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
SEEDS = 5

Changes = Mapping[str, Any]

_SHARED = ("train.optimizer.lr", "model.projection.dropout", "model.temperature.initial")
SHARED: tuple[Changes, ...] = tuple(
    dict(zip(_SHARED, values)) for values in ((1e-3, 0.2, 0.03), (1.5e-3, 0.2, 0.07), (3e-3, 0.5, 0.03))
)
"""What every method tries besides the settings of the specs."""

TEACHER: dict[str, tuple[Any, ...]] = {
    "model.teacher.momentum": (0.9, 0.98),
    "model.teacher.distillation": (0.0, 0.4),
}
CODEBOOK: dict[str, tuple[Any, ...]] = {
    "model.codebook.size": (256, 512),
    "model.codebook.temperature": (0.05, 0.1),
}
NAMES: dict[str, tuple[Any, ...]] = {"objectives.class_names.weight": (0.1, 0.3, 1.0)}


@dataclass(frozen=True)
class Method:
    """A method as changes of a data set's spec.

    Args:
        title: its name in tables.
        about: what it is, in one line.
        changes: settings that make it.
        space: settings that it tunes besides.
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
        return ["dual", "code", "dual+code"] if self.codes else ["dual"]


_NO_CODES = {"objectives.codebook.weight": 0}
_NO_TEACHER = {"objectives.contrastive.weight": 0}
_NAMES = {"objectives.class_names.weight": 0.3}
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
    "clip-names": Method(
        "CLIP + class names", "classes of the image tower as further pairs", {**_CLIP, **_NO_CODES, **_NAMES}, NAMES
    ),
    "codis-names": Method(
        "CODIS + class names",
        "CODIS and classes of the image tower as further pairs",
        _NAMES,
        {**TEACHER, **CODEBOOK, **NAMES},
        codes=True,
    ),
}
PUBLISHED = ("clip", "siglip", "albef", "tcl", "codis")
"""The methods of the literature; the others are variants that the study tries."""

ABLATED = "codis"
ABLATIONS: dict[str, Changes] = {
    "K = 64": {"model.codebook.size": 64},
    "K = 256": {"model.codebook.size": 256},
    "K = 512": {"model.codebook.size": 512},
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
    """Return the settings that a method tries: those of the specs, then each of `SHARED` with draws from its space."""
    own = random.Random(method)
    space = METHODS[method].space
    return [{}, *({**shared, **{name: own.choice(values) for name, values in space.items()}} for shared in SHARED)]
