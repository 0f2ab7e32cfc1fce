"""The preprocessing of images in a spec: that of the weights or ALBEF's, with parts that a spec may override."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from cbalign.parts.section import Effect, Section, setting, subsection

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
"""Pillow's filters."""

Fit = Literal["squash", "crop"]
"""`squash`: resize the whole image to a square; `crop`: resize its shorter side and keep the central square."""

DATA = Effect.DATA
Three = tuple[float, float, float]


def _part(help: str, **constraints: Any) -> Any:
    """Declare a part that overrides that of the weights or of ALBEF."""
    return setting(None, effect=DATA, help=help, **constraints)


class PreprocessingSection(Section):
    """How images become the input of an image tower; null keeps what `like` names."""

    of_weights: ClassVar[bool]
    """Whether the parts that are null are those of the weights."""

    like: str = setting(effect=DATA, help="What the parts that are null are taken from.")
    mean: Three | None = _part("Mean of red, green and blue in [0, 1], which is subtracted; null: as `like` says.")
    std: Three | None = _part("Standard deviation of red, green and blue, a divisor; null: as `like` says.")
    interpolation: Interpolation | None = _part("Pillow's filter that resizes images; null: as `like` says.")
    fit: Fit | None = _part(
        "`squash`: resize the whole image to a square; `crop`: resize the shorter side and keep the centre; null: as "
        "`like` says."
    )
    crop: float | None = _part(
        "Share of the resized side that the central square keeps; null: as `like` says.", gt=0, le=1
    )

    @property
    def parts(self) -> dict[str, Any]:
        """Return the parts that are set, by name."""
        named = {name: getattr(self, name) for name in ("mean", "std", "interpolation", "fit", "crop")}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def is_complete(self) -> bool:
        """Whether every part is set."""
        return len(self.parts) == 5


class WeightsPreprocessing(PreprocessingSection):
    """The preprocessing that the weights were trained with."""

    of_weights: ClassVar[bool] = True

    like: Literal["weights"] = setting(
        "weights", effect=DATA, help="Null parts are those that the weights were trained with."
    )


class AlbefPreprocessing(PreprocessingSection):
    """The preprocessing of ALBEF: CLIP's statistics, bicubic, the whole image squashed."""

    of_weights: ClassVar[bool] = False

    like: Literal["albef"] = setting(
        "albef",
        effect=DATA,
        help="Null parts are ALBEF's: CLIP's mean and standard deviation, bicubic, squash.",
    )


PreprocessingChoice = Annotated[WeightsPreprocessing | AlbefPreprocessing, Field(discriminator="like")]
"""The type of the setting `preprocessing` of an image tower."""


def _default(settings: Mapping[str, Any]) -> PreprocessingSection:
    return AlbefPreprocessing() if settings.get("init") == "random" else WeightsPreprocessing()


def preprocessing_setting(*, is_older: bool = False) -> Any:
    """Declare the setting `preprocessing` of an image tower, below its setting `init`.

    Args:
        is_older: whether the section existed before the setting, when all towers had ALBEF's preprocessing.
    """
    return subsection(
        _default,
        help="How images become the input: `weights` or `albef`, or single parts. By default `weights`, with `init: "
        "random` `albef`.",
        since="0.2" if is_older else None,
        before=AlbefPreprocessing().model_dump(mode="json") if is_older else None,
    )
