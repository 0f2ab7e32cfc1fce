"""The sources of questions, statements and premises, by their spec sections. For pairs: `cbalign.data.source`."""

from __future__ import annotations

from cbalign.data.items import ItemSource, Premise, Statement
from cbalign.data.source import other_items
from cbalign.spec.data import NLVR2Source, SNLIVESource, Source


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
        case _:
            raise other_items(section, "premises")
