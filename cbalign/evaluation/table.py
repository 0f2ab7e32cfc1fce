"""Results as text: aligned for a terminal, or Markdown. The protocol is printed beside every number."""

from __future__ import annotations

from collections.abc import Sequence

from cbalign.evaluation.metrics import CONFIDENCE, Direction
from cbalign.evaluation.result import Result, RetrievalResult
from cbalign.evaluation.scored import Confusion, ScoredResult

_HEADER = ("protocol", "direction", "R@1", "R@5", "R@10", "mean rank", "median rank")
_LEFT = 2  # columns of words; the others are numbers


def format_table(results: Sequence[Result]) -> str:
    """Results, aligned for a terminal or a log."""
    ranked = [result for result in results if isinstance(result, RetrievalResult)]
    scored = [result for result in results if isinstance(result, ScoredResult)]
    lines: list[str] = []
    if ranked:
        lines += [*_captions(ranked), "", *_aligned([_HEADER, *_rows(ranked)], _LEFT), *_codebooks(ranked)]
    for result in scored:
        lines += ["", _scored_caption(result)]
        if result.metrics:
            lines += ["", *_aligned([("", "%"), *_metrics(result)], 1)]
        if result.confusion is not None:
            lines += ["", *_aligned(_confusion(result.confusion), 1)]
    return "\n".join(lines).lstrip("\n")


def markdown_table(results: Sequence[Result]) -> str:
    """Results as Markdown tables under their captions."""
    ranked = [result for result in results if isinstance(result, RetrievalResult)]
    scored = [result for result in results if isinstance(result, ScoredResult)]
    parts: list[str] = []
    if ranked:
        parts += [*_captions(ranked), _markdown([_HEADER, *_rows(ranked)], _LEFT), *_codebooks(ranked)]
    for result in scored:
        parts.append(_scored_caption(result))
        if result.metrics:
            parts.append(_markdown([("", "%"), *_metrics(result)], 1))
        if result.confusion is not None:
            parts.append(_markdown(_confusion(result.confusion), 1))
    return "\n\n".join(parts)


def _aligned(cells: Sequence[tuple[str, ...]], left: int) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = []
    for row in cells:
        aligned = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(aligned).rstrip())
    return [lines[0], "  ".join("─" * width for width in widths), *lines[1:]]


def _markdown(cells: Sequence[tuple[str, ...]], left: int) -> str:
    rules = tuple("---" if i < left else "---:" for i in range(len(cells[0])))
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], rules, *cells[1:]))


def _scored_caption(result: ScoredResult) -> str:
    line = f"{result.split} ({result.source}): {result.describe()}"
    if result.interval is not None:
        line += f"; [{CONFIDENCE} % interval over items]"
    if result.skipped:
        line += f"; {result.skipped:,} with unreadable images left out"
    if not result.metrics:
        line += "; the answers are secret, nothing can be measured: write them to a file with --predictions"
    return line


def _metrics(result: ScoredResult) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, value in result.metrics.items():
        text = f"{value:.2f}"
        if result.interval is not None and name == result.headline:
            text += f" [{result.interval[0]:.2f}, {result.interval[1]:.2f}]"
        rows.append((name, text))
    return rows


def _confusion(confusion: Confusion) -> list[tuple[str, ...]]:
    header = ("is \\ taken for", *confusion.labels, "right %")
    rows = [header]
    for i, (label, counts) in enumerate(zip(confusion.labels, confusion.counts)):
        share = f"{100 * counts[i] / sum(counts):.1f}" if sum(counts) else "–"
        rows.append((label, *(f"{count:,}" for count in counts), share))
    return rows


def _captions(results: Sequence[RetrievalResult]) -> list[str]:
    lines = []
    for result in results:
        line = (
            f"{result.split} ({result.source}): {result.images:,} images × {result.texts:,} texts, "
            f"{result.image_size} px; recall in per cent: a right one among the first K, ties count against the model"
        )
        if result.zero_shot:
            line += "; zero-shot: never trained on this data set"
        if result.image_to_text.interval is not None:
            line += f"; [{CONFIDENCE} % interval over queries]"
        if result.skipped_images:
            line += f"; {result.skipped_images:,} unreadable images left out"
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
        f"{use.agreement:.1f} % of texts share their image's code"
        for result in results
        if (use := result.codebook) is not None
    ]
