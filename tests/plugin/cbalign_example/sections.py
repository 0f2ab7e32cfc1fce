"""What a spec may say about these parts. Imported whenever a spec is read, so it must not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from cbalign.parts import (
    Effect,
    ItemKind,
    ObjectiveSection,
    PrecisionSection,
    RuleError,
    ScheduleSection,
    SolverSection,
    SourceSection,
    TargetSection,
    TextTowerSection,
    TrackerSection,
    VisionTowerSection,
    setting,
)
from cbalign.parts.duration import Duration
from cbalign.parts.kinds import ParityLimits


class SigmoidSection(ObjectiveSection):
    """Sigmoid loss: L = -1/B Σ_ij log σ(y_ij (z_i·z_j / γ + b)) (Zhai et al., 2023)."""

    name = "sigmoid"
    builds = "cbalign_example.sigmoid:Sigmoid"

    temperature: float = setting(
        0.1, gt=0, effect=Effect.INITIALISATION, help="Initial temperature γ.", paper="0.1 (Zhai et al.)"
    )
    bias: float = setting(-10.0, effect=Effect.INITIALISATION, help="Initial bias b.", paper="-10 (Zhai et al.)")


class SidecarSource(SourceSection):
    """A folder of images, each with its caption in a text file of the same name."""

    builds = "cbalign_example.sidecar:open_sidecar"
    items: ClassVar[tuple[ItemKind, ...]] = ("pairs", "checked-captions")

    source: Literal["sidecar"] = setting(effect=Effect.DATA, help="Which kind of source this is.")
    folder: str = setting(effect=Effect.DATA, path="folder", help="Folder of `name.png` with `name.txt`.")
    start: float = setting(0.0, ge=0, lt=1, effect=Effect.DATA, help="First part of the sorted names to use.")
    end: float = setting(1.0, gt=0, le=1, effect=Effect.DATA, help="Where the part ends.")

    @model_validator(mode="after")
    def _start_is_before_end(self) -> Self:
        if self.start >= self.end:
            raise RuleError(f"start ({self.start:g}) must be below end ({self.end:g})", at=("start", "end"))
        return self

    def data_sets(self) -> tuple[str, ...]:
        """Return the name of the folder, which all splits of the data set share."""
        return (Path(self.folder).name,)


class PatchifySection(VisionTowerSection):
    """An image tower for tests: one linear map per patch and a residual layer, with mean pooling."""

    builds = "cbalign_example.patchify:Patchify.from_section"

    kind: Literal["patchify"] = setting(effect=Effect.ARCHITECTURE, help="Which kind of image tower.")
    image_size: int = setting(32, ge=8, effect=Effect.ARCHITECTURE, help="Side of the square input, in pixels.")
    patch_size: int = setting(8, ge=1, effect=Effect.ARCHITECTURE, help="Side of a patch, in pixels.")
    width: int = setting(32, ge=8, effect=Effect.ARCHITECTURE, help="Width of a token.")

    def token_count(self) -> int:
        """One token per patch."""
        return (self.image_size // self.patch_size) ** 2


class BagSection(TextTowerSection):
    """A text tower for tests: one vector per token, whatever their order, with a vocabulary of the captions."""

    builds = "cbalign_example.bag:Bag.from_section"

    kind: Literal["bag"] = setting(effect=Effect.ARCHITECTURE, help="Which kind of text tower.")
    width: int = setting(32, ge=8, effect=Effect.ARCHITECTURE, help="Width of a token.")
    max_tokens: int = setting(25, ge=3, effect=Effect.DATA, help="Longest caption in tokens.")
    max_words: int = setting(30, ge=1, effect=Effect.DATA, help="Longest caption in words.")


class SoftmaxSection(SolverSection):
    """No transport: each sample is assigned by softmax(-D / ε), whatever share of samples a prototype gets."""

    builds = "cbalign_example.softmax:Softmax.from_section"

    solver: Literal["softmax"] = setting(effect=Effect.TRAINING, help="Which solver finds the transport plan.")
    epsilon: float = setting(0.05, gt=0, effect=Effect.TRAINING, help="Temperature ε of the assignment.")

    @property
    def entropic_epsilon(self) -> tuple[float, str]:
        """ε itself, so that `diff` can compare this solver with others."""
        return self.epsilon, "epsilon"


class StepsSection(ScheduleSection):
    """Linear warm-up, then a learning rate that falls by a factor again and again."""

    builds = "cbalign_example.steps:Steps.from_section"

    kind: Literal["steps"] = setting(effect=Effect.TRAINING, help="Which schedule.")
    warmup: Duration = setting("0 steps", effect=Effect.TRAINING, help="Length of the warm-up.")
    every: Duration = setting("1 epoch", effect=Effect.TRAINING, help="Time between two falls.")
    factor: float = setting(0.5, gt=0, le=1, effect=Effect.TRAINING, help="Factor of each fall.")


class RoundedPrecision(PrecisionSection):
    """float32 graphs whose weights are rounded to bfloat16, which compress better."""

    name = "rounded"
    builds = "cbalign_example.rounded:round_weights"
    purpose = "small downloads; weights rounded to bfloat16, computed in float32"
    tolerance = 1e-3
    limits = ParityLimits("distance", tokens=0.05, embedding=0.05, scores=0.1, codes=0.1, recall=2.0)


class ZipTarget(TargetSection):
    """The bundle as one zip file, `bundle.zip`."""

    builds = "cbalign_example.archive:write_zip"

    kind: Literal["zip"] = setting(effect=Effect.EXPORT, help="Which target.")
    compression: int = setting(6, ge=0, le=9, effect=Effect.EXPORT, help="Level of compression.")


class CsvTracker(TrackerSection):
    """Metrics of training and evaluation in `metrics.csv` in the run's folder, one line per value."""

    builds = "cbalign_example.csv_tracker:Csv"
    writes = "metrics.csv"

    kind: Literal["csv"] = setting(effect=Effect.RUNTIME, help="Which tracker.")
