"""Settings that several kinds of image towers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from cbalign.data.published import hub_name, is_hub_name
from cbalign.parts import Effect, WeightsSource, setting

Pooling = Literal["trunk", "cls", "mean", "map"]


def _trunk() -> Pooling:
    return "trunk"


def pooling_setting(*, is_older: bool = False, default: Callable[[Mapping[str, Any]], Pooling] | None = None) -> Any:
    """Declare the setting `pooling`.

    Args:
        is_older: whether the section existed before the setting.
        default: returns the default for the settings above; None for `trunk`.
    """
    return setting(
        effect=Effect.ARCHITECTURE,
        since="0.2" if is_older else None,
        help="How tokens become one vector: `trunk` as the model itself does it, `cls` its class token, `mean` the "
        "mean over the patches, `map` its attention pooling.",
        paper="cls (ALBEF)",
        default_factory=default or _trunk,
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
