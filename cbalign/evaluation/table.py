"""Results as text: aligned for a terminal, or Markdown. The protocol is printed next to every number."""

from __future__ import annotations

from collections.abc import Sequence

from cbalign.evaluation.base import Result
from cbalign.evaluation.layout import Block, markdown_text, plain_text


def result_blocks(results: Sequence[Result]) -> list[Block]:
    """Lay out results, those of one class together."""
    classes = dict.fromkeys(type(result) for result in results)
    return [block for each in classes for block in each.blocks([one for one in results if type(one) is each])]


def format_table(results: Sequence[Result]) -> str:
    """Write results for a terminal or a log."""
    return plain_text(result_blocks(results))


def markdown_table(results: Sequence[Result]) -> str:
    """Write results as Markdown tables under their captions."""
    return markdown_text(result_blocks(results))
