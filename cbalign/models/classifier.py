"""The classes that a published image tower was trained to tell apart: rows of its classifier, and names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.data import ImageNetInfo, infer_imagenet_subset
from torch import Tensor

ClassNames = tuple[tuple[str, ...], ...]
"""The names of each class: one or several synonyms."""


def class_names(config: Mapping[str, Any]) -> ClassNames:
    """Return the names of the classes of timm's `pretrained_cfg`; none if they are unknown.

    They are those of the configuration, as timm writes them for models of its users, else ImageNet's, which `timm.data`
    has from WordNet. `tabby, tabby cat` are two names of a class.
    """
    own = config.get("label_descriptions") or config.get("label_names")
    if isinstance(own, Mapping):
        own = own.values()
    subset = infer_imagenet_subset(dict(config)) if not own and config.get("num_classes") else None
    if subset is not None:
        labels = ImageNetInfo(subset)
        own = [labels.index_to_description(index) for index in range(labels.num_classes())]
    return tuple(tuple(name.strip() for name in str(text).split(",")) for text in own or ())


def classifier_rows(weights: Mapping[str, Tensor], config: Mapping[str, Any], width: int) -> Tensor | None:
    """Find the matrix (C, width) of the classifier in published weights by timm's names; None if it has none."""
    name = config.get("classifier")
    names = name if isinstance(name, (list, tuple)) else [name]
    found = (weights.get(f"{each}.weight") for each in names)
    return next((rows for rows in found if rows is not None and rows.ndim == 2 and rows.shape[1] == width), None)
