"""Which features of frozen towers a training keeps, and under which key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import leaves
from cbalign.models.tower import KeptFeatures, TextTower, Tower, VisionTower
from cbalign.parts import Effect
from cbalign.parts.towers import TowerSection
from cbalign.runtime.user_cache import user_cache

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


def kept_texts(experiment: Experiment) -> KeptFeatures | None:
    """Return what can be kept of the captions: nothing if the text tower is trained, or the task has no captions."""
    if not experiment.model.text.is_frozen or not experiment.task.aligns:
        return None
    return "tokens" if reads_tokens(experiment) else "pooled"


def reads_tokens(experiment: Experiment) -> bool:
    """Whether something reads the tokens of an image or a text, rather than its pooled vector."""
    active = experiment.objectives.active().values()
    return not experiment.task.aligns or any(each.fuses or each.reads_tokens for each in active)


@dataclass(frozen=True)
class FeatureKey:
    """What features depend on besides the bytes of an image or the token ids of a text.

    Args:
        weights: a hash of the tower's parameters and buffers.
        architecture: the tower's settings that decide what it computes.
        kept: tokens or pooled vectors.
        input: of images: size, statistics and resampling, and the augmentation; of texts: the maximum length.
    """

    weights: str
    architecture: dict[str, object]
    kept: KeptFeatures
    input: dict[str, object]

    @classmethod
    def of_images(cls, tower: VisionTower, experiment: Experiment, *, augmented: bool) -> FeatureKey:
        """Return the key of the features that `tower` gives, of augmented images or not."""
        drawn = experiment.data.augmentation if augmented else None
        return cls._of(
            tower,
            experiment.model.vision,
            tower.kept,
            {
                "preprocessing": json.loads(tower.preprocessing.to_json()),
                "augmentation": drawn and drawn.model_dump(mode="json", exclude={"views", "two_views"}),
            },
        )

    @classmethod
    def of_texts(cls, tower: TextTower, experiment: Experiment) -> FeatureKey:
        """Return the key of the features that `tower` gives."""
        section = experiment.model.text
        return cls._of(tower, section, tower.kept, {"max_tokens": section.max_tokens})

    @classmethod
    def _of(
        cls, tower: Tower, section: TowerSection, kept: KeptFeatures | None, input: dict[str, object]
    ) -> FeatureKey:
        assert kept is not None, "FrozenTowers set it"
        settings = {path: value for path, value, effect in leaves(section) if effect is Effect.ARCHITECTURE}
        return cls(weights_hash(tower), settings, kept, input)

    def about(self) -> dict[str, object]:
        """Return the key as JSON values."""
        return {"format": FORMAT, "dtype": "float16", **self.__dict__}

    def folder(self) -> Path:
        """Return the folder of features with this key."""
        text = json.dumps(self.about(), sort_keys=True, default=str)
        return user_cache(FOLDER) / hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def weights_hash(tower: Tower) -> str:
    """Hash the parameters and buffers of a tower, by name."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tower.state_dict().items()):
        values: Tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.flatten().view(dtype=torch.uint8).numpy().data if values.numel() else b"")
    return digest.hexdigest()
