"""Settings that several kinds of image towers share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from cbalign.parts import Effect, WeightsSource, setting

Pooling = Literal["trunk", "cls", "mean", "map"]
HUB_PREFIXES = ("hf://", "hf-hub:")


def pooling_setting(*, before: Pooling | None = None) -> Any:
    """Declare the setting `pooling`.

    Args:
        before: the pooling before the setting existed, if it is newer than its section.
    """
    return setting(
        "trunk",
        effect=Effect.ARCHITECTURE,
        since="0.2" if before else None,
        before=before,
        help="How tokens become one vector: `trunk` as the model itself does it, `cls` its class token, `mean` the "
        "mean over the patches, `map` its attention pooling.",
        paper="cls (ALBEF)",
    )


def initial_weights(architecture: str, init: str, label: str) -> WeightsSource | None:
    """Return the weights that `init` names.

    Args:
        architecture: name, hub name or folder of the model.
        init: `random`, `pretrained`, a hub name, or a file or folder.
        label: the name of the architecture's published weights in messages.
    """
    if init == "random":
        return None
    if init != "pretrained":
        return named_weights(init)
    if is_hub_name(architecture) or Path(architecture).is_absolute():
        return named_weights(architecture)
    return WeightsSource(label, model=architecture)


def named_weights(name: str) -> WeightsSource:
    """Return the weights of a hub name, file or folder."""
    if is_hub_name(name):
        return WeightsSource(name, model=hub_name(name))
    return WeightsSource(name, path=name)


def is_hub_name(name: str) -> bool:
    """Whether this is the name of a model on the hub, with its prefix."""
    return name.startswith(HUB_PREFIXES)


def hub_name(name: str) -> str:
    """Return a name on the hub without its prefix: `org/name`."""
    for prefix in HUB_PREFIXES:
        name = name.removeprefix(prefix)
    return name
