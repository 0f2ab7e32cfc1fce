"""The sources of questions, statements and premises, by their spec sections. For pairs: `cbalign.data.source`."""

from __future__ import annotations

from cbalign.data.items import STATEMENT_LABELS, ItemSource, Labelled, Premise, Question, Statement
from cbalign.data.sections.drawings import EasyVQASource, ScenesSource
from cbalign.data.sections.labelled import NLVR2Source, SNLIVESource
from cbalign.data.sections.questions import ALBEFQuestionsSource, VQAv2Source
from cbalign.data.source import other_items
from cbalign.experiment.data import Source


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


def open_labelled(section: Source, labels: tuple[str, ...]) -> ItemSource[Labelled]:
    """Open the statements of a source where these are the classes of statements, else its premises.

    Raises:
        DataError: a file is missing, malformed or empty.
        UsageError: the source has none.
    """
    return open_statements(section) if labels == STATEMENT_LABELS else open_premises(section)
