"""easy-VQA: 48,248 questions with 13 answers about 5,000 drawn shapes, from the package of that name (MIT)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from cbalign.data.questions import QuestionBuilder, QuestionFiles
from cbalign.data.sections.drawings import EasyVQASource
from cbalign.errors import DataError, MissingExtraError
from cbalign.parts import ItemKind
from cbalign.parts.kinds import Split


def open_section(section: EasyVQASource, items: ItemKind) -> QuestionFiles:
    """Open the source that a section describes."""
    return open_easy_vqa(split=section.split, held_out=section.held_out)


def open_easy_vqa(*, split: Split, held_out: int) -> QuestionFiles:
    """Read one split.

    Args:
        split: the package's own `train` and `test`; `validation` is held out from `train`.
        held_out: one in this many images of `train` belongs to `validation` instead; 0 for none.

    Raises:
        MissingExtraError: the package is not installed.
        DataError: its files are damaged, or the split is empty.
    """
    folder = _package() / "data" / ("test" if split == "test" else "train")
    file, root = folder / "questions.json", folder / "images"
    builder = QuestionBuilder(root)
    builder.start_file(file)
    for number, (question, answer, image) in enumerate(_questions(file), 1):
        is_held_out = held_out > 0 and image % held_out == held_out - 1
        if split == "test" or is_held_out == (split == "validation"):
            row = builder.annotations.append([answer])
            builder.add(number, f"{image}.png", question, question_id=number, row=row)
    source = builder.finish()
    source.name = f"easy-vqa {split}"
    return source


def _package() -> Path:
    # The package is not imported: its code reads the same files.
    found = importlib.util.find_spec("easy_vqa")
    if found is None or found.origin is None:
        raise MissingExtraError(
            "source easy-vqa needs the package easy-vqa, which is not installed",
            remedy="Install it with: pip install 'cbalign[quickstart]'",
        )
    return Path(found.origin).parent


def _questions(file: Path) -> list[tuple[str, str, int]]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return [(str(question), str(answer), int(image)) for question, answer, image in rows]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{file}: cannot be read ({error})", remedy="Reinstall easy-vqa.") from error
