"""Files of questions about images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import model_validator

from cbalign.data.data_set_names import data_sets_of_files
from cbalign.parts import Effect, ItemKind, RuleError, SourceSection, setting

DATA = Effect.DATA
_IMAGES_OF = {"vqa": "coco", "vg_qa": "vg"}  # ALBEF's lists of questions
_IMAGE_PATTERN = re.compile(r"(?:[^{}]|\{subset\}|\{id(?::0\d{1,2})?\})+")


class VQAv2Source(SourceSection):
    """The official files of VQA v2: questions and their annotations."""

    builds = "cbalign.data.vqa_v2:open_section"
    items: ClassVar[tuple[ItemKind, ...]] = ("questions",)

    source: Literal["vqa-v2"] = setting(effect=DATA, help="Kind of source.")
    questions: tuple[str, ...] = setting(
        effect=DATA, min_length=1, path="file", help="`v2_OpenEnded_mscoco_…_questions.json`, one after the other."
    )
    annotations: tuple[str, ...] = setting(
        (), effect=DATA, path="file", help="`v2_mscoco_…_annotations.json` of the same subsets; empty for a test set."
    )
    root: str = setting(".", effect=DATA, path="folder", help="Folder of COCO's images; paths must stay inside.")
    image: str = setting(
        "{subset}/COCO_{subset}_{id:012}.jpg",
        effect=DATA,
        help="Pattern of image paths below the root; `{subset}` is the `data_subtype` of the question file.",
    )

    @model_validator(mode="after")
    def _image_is_a_pattern(self) -> VQAv2Source:
        if not _IMAGE_PATTERN.fullmatch(self.image) or "{id" not in self.image:
            raise RuleError(
                f"image {self.image!r} must be a pattern of {{id}}, {{id:012}} and {{subset}}",
                at=("image",),
            )
        return self

    def data_sets(self) -> tuple[str, ...]:
        """Return the data set of the images."""
        return ("coco",)


class ALBEFQuestionsSource(SourceSection):
    """ALBEF's VQA lists: objects with `dataset` (vqa or vg), `image`, `question`, `answer` and `question_id`."""

    builds = "cbalign.data.albef_questions:open_section"
    items: ClassVar[tuple[ItemKind, ...]] = ("questions",)

    source: Literal["albef-vqa"] = setting(effect=DATA, help="Kind of source.")
    files: tuple[str, ...] = setting(effect=DATA, min_length=1, path="file", help="JSON files, one after the other.")
    root: str = setting(
        ".", effect=DATA, path="folder", help="Folder of the images of `dataset: vqa`; paths must stay inside."
    )
    genome_root: str | None = setting(
        None, effect=DATA, path="folder", help="Folder of the images of `dataset: vg`; null: the same folder."
    )
    genome_weight: float = setting(
        0.5,
        ge=0,
        effect=DATA,
        help="Weight of the single answer of `dataset: vg`; the answers of ten annotators sum to 1.",
        paper="0.5 (ALBEF's code)",
    )

    def data_sets(self) -> tuple[str, ...]:
        """Return the data sets of the images."""
        return tuple(dict.fromkeys(_IMAGES_OF.get(name, name) for name in data_sets_of_files(self.files)))

    @classmethod
    def of_file(cls, path: Path, items: ItemKind) -> ALBEFQuestionsSource | None:
        """Read a JSON list or JSON lines of questions."""
        if items != "questions" or path.suffix.lower() not in (".json", ".jsonl"):
            return None
        return cls(source="albef-vqa", files=(str(path.resolve()),), root=str(path.resolve().parent))
