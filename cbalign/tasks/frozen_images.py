"""Which features of a frozen image tower a training keeps, and under which key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cbalign.engine.user_cache import user_cache
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import leaves
from cbalign.models.tower import KeptFeatures, VisionTower
from cbalign.parts import Effect

FOLDER = "features"  # in the user's cache
FORMAT = 1  # of the features of a tower; to be raised when the same settings give other numbers


def kept_features(experiment: Experiment) -> KeptFeatures | None:
    """Return what can be kept of the images: nothing if the tower is trained or every epoch has new views.

    Training gives the same numbers with and without the kept features, because the tower computes what would be kept
    in either case.
    """
    if not experiment.model.vision.is_frozen or experiment.data.fixed_views is None:
        return None
    return "tokens" if reads_tokens(experiment) else "pooled"


def reads_tokens(experiment: Experiment) -> bool:
    """Whether something reads the tokens of an image, rather than its pooled vector."""
    return not experiment.task.aligns or experiment.objectives.fuses


@dataclass(frozen=True)
class FeatureKey:
    """What the features of an image depend on besides its bytes.

    Args:
        weights: a hash of the tower's parameters and buffers.
        architecture: the tower's settings that decide what it computes.
        preprocessing: size, statistics and resampling of its input.
        augmentation: None for the evaluation transform.
        kept: tokens or pooled vectors.
    """

    weights: str
    architecture: dict[str, object]
    preprocessing: str
    augmentation: dict[str, object] | None
    kept: KeptFeatures

    @classmethod
    def of(cls, tower: VisionTower, experiment: Experiment, kept: KeptFeatures, *, augmented: bool) -> FeatureKey:
        """Return the key of the features that `tower` gives, of augmented images or not."""
        section, drawn = experiment.model.vision, experiment.data.augmentation
        return cls(
            weights=weights_hash(tower),
            architecture={path: value for path, value, effect in leaves(section) if effect is Effect.ARCHITECTURE},
            preprocessing=tower.preprocessing.to_json(),
            augmentation=drawn.model_dump(mode="json", exclude={"views", "two_views"}) if augmented and drawn else None,
            kept=kept,
        )

    def about(self) -> dict[str, object]:
        """Return the key as JSON values."""
        return {
            "format": FORMAT,
            "weights": self.weights,
            "architecture": self.architecture,
            "preprocessing": json.loads(self.preprocessing),
            "augmentation": self.augmentation,
            "kept": self.kept,
            "dtype": "float16",
        }

    def folder(self) -> Path:
        """Return the folder of features with this key."""
        text = json.dumps(self.about(), sort_keys=True, default=str)
        return user_cache(FOLDER) / hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def weights_hash(tower: VisionTower) -> str:
    """Hash the parameters and buffers of a tower, by name."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tower.state_dict().items()):
        values: Tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.flatten().view(dtype=torch.uint8).numpy().data if values.numel() else b"")
    return digest.hexdigest()
