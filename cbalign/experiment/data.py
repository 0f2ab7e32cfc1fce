"""The `data` section: data sources and image augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import model_validator

from cbalign.experiment.unions import union
from cbalign.parts import Effect, RuleError, Section, SourceSection, setting
from cbalign.parts.registry import SOURCES
from cbalign.parts.section import subsection

DATA = Effect.DATA

if TYPE_CHECKING:
    Source = SourceSection
else:
    Source = union(SOURCES)


class RandAugmentSection(Section):
    """RandAugment with ALBEF's ten operations."""

    operations: int = setting(
        2, ge=0, le=100, effect=DATA, help="Operations per image; 0 switches it off.", paper="2 (ALBEF)"
    )
    magnitude: int = setting(7, ge=0, le=10, effect=DATA, help="Strength, of 10.", paper="7 (ALBEF)")
    fill: int = setting(
        128,
        ge=0,
        le=255,
        effect=DATA,
        help="Grey level of the area exposed by rotation, shear and translation; 255 suits drawings on white.",
        paper="128 (ALBEF's code)",
    )


class AugmentationSection(Section):
    """The augmentation of training images."""

    crop_scale: tuple[float, float] = setting(
        (0.2, 1.0),
        effect=DATA,
        help="Minimum and maximum fraction of the area that a random crop retains.",
        paper="0.2 to 1 (ALBEF)",
    )
    flip: bool = setting(
        True, effect=DATA, help="Flip each image horizontally with probability 0.5.", paper="yes (ALBEF)"
    )
    randaugment: RandAugmentSection = subsection(RandAugmentSection, help="Colour and geometry operations.")
    two_views: bool = setting(
        True,
        effect=DATA,
        help="Augment images independently for the teacher; otherwise, image-image alignment is nearly trivial.",
        paper="not stated (CODIS), yes (TCL)",
    )
    views: int | None = setting(
        None,
        ge=1,
        le=1_000_000,
        since="0.2",
        effect=DATA,
        help="Fixed augmented views of each image, of which epoch e uses number e modulo n, so that a frozen image "
        "tower computes each only once; null: a new random view in each epoch.",
    )

    @model_validator(mode="after")
    def _another_view_for_the_teacher(self) -> AugmentationSection:
        if self.views == 1 and self.two_views:
            raise RuleError(
                "views: 1 leaves no second view for the teacher; set views to 2 or more, or two_views: false",
                at=("views", "two_views"),
            )
        return self

    @model_validator(mode="after")
    def _crop_scale_in_order(self) -> AugmentationSection:
        least, greatest = self.crop_scale
        if not 0 < least <= greatest <= 1:
            raise RuleError(f"crop_scale [{least}, {greatest}] must increase within 0 to 1", at=("crop_scale",))
        return self


class DataSection(Section):
    """The sources of pairs, questions, statements or premises."""

    train: Source = setting(effect=DATA, help="The training data.")
    validation: Source | None = setting(
        None, effect=Effect.EVALUATION, help="The validation data, for choosing settings."
    )
    test: Source | None = setting(None, effect=Effect.EVALUATION, help="The test data, for reporting results.")
    augmentation: AugmentationSection | None = subsection(
        AugmentationSection,
        effect=DATA,
        help="Augmentation of training images; null: the evaluation transform, one view.",
    )
    captions_per_image: int = setting(
        1,
        ge=1,
        effect=DATA,
        since="0.2",
        help="Captions of an image that enter a batch, drawn without repetition as far as there are so many; "
        "`train.batch_size` counts images.",
        paper="1 (ALBEF)",
    )
    corrupt_limit: float = setting(
        0.01,
        ge=0,
        le=1,
        effect=DATA,
        help="Fraction of images that may be missing or corrupt; they are skipped and counted.",
    )
    workers: int = setting(
        0, ge=0, le=1_024, effect=Effect.RUNTIME, help="Worker processes that decode and augment; 0: the main process."
    )

    @property
    def two_views(self) -> bool:
        """Whether the teacher reads other views of the images than the student."""
        return self.augmentation is not None and self.augmentation.two_views

    @property
    def fixed_views(self) -> int | None:
        """Return the number of views of each image over the whole training; None if each epoch has new ones."""
        return 1 if self.augmentation is None else self.augmentation.views
