"""Results as text: aligned for a terminal, or Markdown. The protocol is printed beside every number."""

from __future__ import annotations

from collections.abc import Sequence

from cbalign.evaluation.metrics import CONFIDENCE, Direction
from cbalign.evaluation.result import RetrievalResult

_HEADER = ("protocol", "direction", "R@1", "R@5", "R@10", "mean rank", "median rank")
_LEFT = 2  # columns of words; the others are numbers


def format_table(results: Sequence[RetrievalResult]) -> str:
    """Results, aligned for a terminal or a log."""
    cells = [_HEADER, *_rows(results)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = []
    for row in cells:
        aligned = [c.ljust(w) if i < _LEFT else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(aligned).rstrip())
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join([*_captions(results), "", *lines, *_codebooks(results)])


def markdown_table(results: Sequence[RetrievalResult]) -> str:
    """Results as a Markdown table under its caption."""
    rules = ["---" if i < _LEFT else "---:" for i in range(len(_HEADER))]
    rows = [" | ".join(row) for row in (_HEADER, rules, *_rows(results))]
    return "\n\n".join([*_captions(results), "\n".join(f"| {row} |" for row in rows), *_codebooks(results)])


def _captions(results: Sequence[RetrievalResult]) -> list[str]:
    lines = []
    for result in results:
        line = (
            f"{result.split} ({result.source}): {result.images:,} images × {result.texts:,} texts, "
            f"{result.image_size} px; recall in per cent: a right one among the first K, ties count against the model"
        )
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
