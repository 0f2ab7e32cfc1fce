"""Reports of evaluation results: tables, each with a caption that states the protocol."""

from __future__ import annotations

from collections.abc import Sequence

from cbalign.evaluation.base import Result
from cbalign.runtime.table import Block, markdown_text, plain_text


def result_blocks(results: Sequence[Result]) -> list[Block]:
    """Report results as captions and tables, those of one class together."""
    classes = dict.fromkeys(type(result) for result in results)
    return [block for each in classes for block in each.blocks([one for one in results if type(one) is each])]


def format_table(results: Sequence[Result]) -> str:
    """Report results as aligned text, for pipes and logs."""
    return plain_text(result_blocks(results))


def markdown_table(results: Sequence[Result]) -> str:
    """Report results as Markdown tables with captions."""
    return markdown_text(result_blocks(results))
