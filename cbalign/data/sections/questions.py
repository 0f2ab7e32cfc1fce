"""Files of questions about images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from cbalign.parts import Effect, ItemKind, RuleError, SourceSection, setting

DATA = Effect.DATA
_IMAGE_PATTERN = re.compile(r"(?:[^{}]|\{subset\}|\{id(?::0\d{1,2})?\})+")


class VQAv2Source(SourceSection):
    """The official files of VQA v2: questions, and annotations that belong to them."""

    builds = "cbalign.data.vqa_v2:open_section"
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

    builds = "cbalign.data.albef_questions:open_section"
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

    @classmethod
    def of_file(cls, path: Path, items: ItemKind) -> Self | None:
        """Return the source for one file with images in its folder."""
        if items != "questions":
            return None
        return cls(source="albef-vqa", files=(str(path),), root=str(path.parent))
