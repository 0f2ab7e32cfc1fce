"""Reports of evaluation results: tables, each with a caption that states the protocol."""

from __future__ import annotations

from collections.abc import Sequence

from cbalign.evaluation.metrics import CONFIDENCE, Direction
from cbalign.evaluation.result import Result, RetrievalResult
from cbalign.evaluation.scored import Confusion, ScoredResult
from cbalign.runtime.table import Block, Column, Table, markdown_text, plain_text

_HEADER = ("protocol", "direction", "R@1", "R@5", "R@10", "mean rank", "median rank")
_LEFT = 2  # columns of text; the others are numbers


def result_blocks(results: Sequence[Result]) -> list[Block]:
    """Report results as captions and tables."""
    ranked = [result for result in results if isinstance(result, RetrievalResult)]
    scored = [result for result in results if isinstance(result, ScoredResult)]
    blocks: list[Block] = []
    if ranked:
        table = Table.of(_HEADER, _rows(ranked), right=range(_LEFT, len(_HEADER)), notes=_codebooks(ranked), ruled=True)
        blocks += [*_captions(ranked), table]
    for result in scored:
        blocks.append(_scored_caption(result))
        if result.metrics:
            blocks.append(Table.of((Column(), Column("%", right=True)), _metrics(result), ruled=True))
        if result.confusion is not None:
            blocks.append(_confusion(result.confusion))
    return blocks


def format_table(results: Sequence[Result]) -> str:
    """Report results as aligned text, for pipes and logs."""
    return plain_text(result_blocks(results))


def markdown_table(results: Sequence[Result]) -> str:
    """Report results as Markdown tables with captions."""
    return markdown_text(result_blocks(results))


def _scored_caption(result: ScoredResult) -> str:
    line = f"{result.split} ({result.source}): {result.describe()}"
    if result.interval is not None:
        line += f"; [{CONFIDENCE} % interval over items]"
    if result.skipped:
        line += f"; {result.skipped:,} items with unreadable images skipped"
    if not result.metrics:
        line += "; answers are not public, no metrics: write predictions to a file with --predictions"
    return line


def _metrics(result: ScoredResult) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, value in result.metrics.items():
        text = f"{value:.2f}"
        if result.interval is not None and name == result.headline:
            text += f" [{result.interval[0]:.2f}, {result.interval[1]:.2f}]"
        rows.append((name, text))
    return rows


def _confusion(confusion: Confusion) -> Table:
    header = ("label \\ prediction", *confusion.labels, "correct %")
    rows = []
    for i, (label, counts) in enumerate(zip(confusion.labels, confusion.counts)):
        share = f"{100 * counts[i] / sum(counts):.1f}" if sum(counts) else "–"
        rows.append((label, *(f"{count:,}" for count in counts), share))
    return Table.of(header, rows, right=range(1, len(header)), ruled=True)


def _captions(results: Sequence[RetrievalResult]) -> list[str]:
    lines = []
    for result in results:
        line = (
            f"{result.split} ({result.source}): {result.images:,} images × {result.texts:,} texts, "
            f"{result.image_size} px; R@K in per cent: a correct match among the first K, ties count against the model"
        )
        if result.zero_shot:
            line += "; zero-shot: not trained on this data set"
        if result.image_to_text.interval is not None:
            line += f"; [{CONFIDENCE} % interval over queries]"
        if result.skipped_images:
            line += f"; {result.skipped_images:,} unreadable images skipped"
        lines.append(line)
    return list(dict.fromkeys(lines))


def _rows(results: Sequence[RetrievalResult]) -> list[tuple[str, ...]]:
    splits = {result.split for result in results}
    rows = []
    for result in results:
        name = result.protocol_name if len(splits) == 1 else f"{result.split}: {result.protocol_name}"
        rows.append((name, "image → text", *_numbers(result.image_to_text)))
        rows.append((name, "text → image", *_numbers(result.text_to_image)))
    return rows


def _numbers(direction: Direction) -> tuple[str, ...]:
    m, interval = direction.metrics, direction.interval
    recalls = []
    for name in ("r1", "r5", "r10"):
        text = f"{getattr(m, name):.1f}"
        if interval is not None:
            text += f" [{getattr(interval.low, name):.1f}, {getattr(interval.high, name):.1f}]"
        recalls.append(text)
    return (*recalls, f"{m.mean_rank:.1f}", f"{m.median_rank:g}")


def _codebooks(results: Sequence[RetrievalResult]) -> list[str]:
    return [
        f"codebook on {result.split}: {use.used} of {use.size} codes used (images {use.used_by_images}, texts "
        f"{use.used_by_texts}), perplexity {use.perplexity_images:.1f} and {use.perplexity_texts:.1f}, "
        f"{use.agreement:.1f} % of texts have their image's code"
        for result in results
        if (use := result.codebook) is not None
    ]
