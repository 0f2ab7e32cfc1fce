"""The sources of questions, statements and premises, by their spec sections. For pairs: `cbalign.data.source`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cbalign.data.items import ItemSource, Premise, Question, Statement, item_fingerprint, texts_of
from cbalign.data.sections.drawings import EasyVQASource, ScenesSource
from cbalign.data.sections.labelled import NLVR2Source, SNLIVESource
from cbalign.data.sections.questions import ALBEFQuestionsSource, VQAv2Source
from cbalign.data.source import captions_of, open_source, other_items, source_fingerprint
from cbalign.experiment.data import Source
from cbalign.parts import ItemKind


def open_questions(section: Source) -> ItemSource[Question]:
    """Open a source of questions about images.

    Raises:
        DataError: a file is missing, malformed or empty, or files do not belong together.
        MissingExtraError: the source needs a package that is not installed.
        UsageError: the source has no questions.
    """
    match section:
        case VQAv2Source():
            from cbalign.data.vqa_v2 import open_vqa_v2

            return open_vqa_v2(section.questions, section.annotations, section.root, image=section.image)
        case ALBEFQuestionsSource():
            from cbalign.data.albef_questions import open_albef_questions

            return open_albef_questions(
                section.files,
                section.root,
                genome_root=section.genome_root,
                genome_weight=section.genome_weight,
            )
        case EasyVQASource():
            from cbalign.data.easy_vqa import open_easy_vqa

            return open_easy_vqa(split=section.split, held_out=section.held_out)
        case ScenesSource():
            from cbalign.data.scenes.items import SceneQuestions

            return SceneQuestions(section.split, section.size, render_size=section.render_size, seed=section.seed)
        case _:
            raise other_items(section, "questions")


def open_statements(section: Source) -> ItemSource[Statement]:
    """Open a source of statements about two images.

    Raises:
        DataError: a file is missing, malformed or empty.
        UsageError: the source has no statements.
    """
    match section:
        case NLVR2Source():
            from cbalign.data.nlvr2 import open_nlvr2

            return open_nlvr2(section.files, section.root)
        case ScenesSource():
            from cbalign.data.scenes.items import SceneStatements

            return SceneStatements(section.split, section.size, render_size=section.render_size, seed=section.seed)
        case _:
            raise other_items(section, "statements")


def open_premises(section: Source) -> ItemSource[Premise]:
    """Open a source of premises and hypotheses.

    Raises:
        DataError: a file is missing, malformed or empty.
        UsageError: the source has no premises.
    """
    match section:
        case SNLIVESource():
            from cbalign.data.snli_ve import open_snli_ve

            return open_snli_ve(section.files, section.root)
        case ScenesSource():
            from cbalign.data.scenes.items import ScenePremises

            return ScenePremises(section.split, section.size, render_size=section.render_size, seed=section.seed)
        case _:
            raise other_items(section, "premises")


_OPENERS: Mapping[ItemKind, Callable[[Source], Any]] = {
    "pairs": open_source,
    "questions": open_questions,
    "statements": open_statements,
    "premises": open_premises,
}


def open_items(section: Source, items: ItemKind) -> Any:
    """Open a source of items of one kind.

    Raises:
        DataError: a file is missing, malformed or empty.
        UsageError: the source has no such items.
    """
    return _OPENERS[items](section)


def texts_in(source: Any) -> Iterator[str]:
    """Yield all texts of a source, for a vocabulary."""
    return captions_of(source) if hasattr(source, "entry") else texts_of(source)


def fingerprint_of(source: Any) -> str:
    """Return a fingerprint of the names and texts of a source."""
    return source_fingerprint(source) if hasattr(source, "entry") else item_fingerprint(source)
