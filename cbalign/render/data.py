"""Reports of `cbalign data check` and `cbalign data stats`: one column for each split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from cbalign.runtime.table import Block, Table

if TYPE_CHECKING:
    from cbalign.data.check import DataFindings, Found, SplitFindings
    from cbalign.data.distribution import Distribution
    from cbalign.data.stats import SplitStatistics
    from cbalign.parts import ItemKind, TextTowerSection

_SHOWN = 3  # examples of a kind; --json has more
_TEXTS: dict[ItemKind, tuple[str, str]] = {
    "pairs": ("caption", "captions"),
    "questions": ("question", "questions"),
    "statements": ("statement", "statements"),
    "premises": ("hypothesis", "hypotheses"),
}
"""What the texts of a kind of items are called, in singular and plural."""


def check_blocks(findings: DataFindings, limits: TextTowerSection, items: ItemKind) -> list[Block]:
    """Report a check: the sources, a table of counts, examples, and the problems."""
    splits = findings.splits
    rows = [_check_row(found, limits, items) for found in splits.values()]
    for shared in findings.shared:
        name = f"images shared with {shared.first}"
        for split, row in zip(splits, rows):
            row[name] = f"{shared.images.count:,}" if split == shared.second else row.get(name, "")
    parts: list[Block] = [
        _sources({split: found.source for split, found in splits.items()}),
        _table(list(splits), rows),
    ]
    examples = [line for split, found in splits.items() for line in _examples(split, found)]
    examples += [f"  shared: {example}" for shared in findings.shared for example in shared.images.examples[:_SHOWN]]
    if examples:
        parts.append("\n".join(["examples", *examples]))
    if findings.problems:
        lines = [f"{click.style('problem:', fg='red', bold=True)} {problem}" for problem in findings.problems]
        parts.append("\n".join(lines))
    else:
        parts.append(click.style("no problems", fg="green"))
    return parts


def stats_blocks(found: Mapping[str, SplitStatistics], image_size: int, items: ItemKind) -> list[Block]:
    """Report statistics: the sources and a table."""
    rows = [_stats_row(one, image_size, items) for one in found.values()]
    return [_sources({split: one.source for split, one in found.items()}), _table(list(found), rows)]


def _check_row(found: SplitFindings, limits: TextTowerSection, items: ItemKind) -> dict[str, str]:
    captions, texts = found.captions, _TEXTS[items][1]
    tokens, reading = captions.cut_by_max_tokens, limits.tokenizer_settings()
    words = f"{texts} over {reading.max_words} words"
    return {
        items: f"{found.items:,}",
        "images": f"{found.images:,}",
        texts: f"{captions.count:,}",
        f"{texts} per image": _span(found.captions_per_image),
        "missing images": f"{found.missing.count:,}",
        "corrupt images": f"{found.corrupt.count:,}",
        "duplicate images": f"{found.duplicates.count:,}",
        f"empty {texts}": f"{captions.empty.count:,}",
        **({} if reading.own_form else {words: f"{captions.cut_by_max_words:,}"}),
        f"{texts} over {limits.max_tokens} tokens": "unknown" if tokens is None else f"{tokens:,}",
    }


def _stats_row(found: SplitStatistics, image_size: int, items: ItemKind) -> dict[str, str]:
    words, sizes = found.vocabulary, found.sizes
    text, texts = _TEXTS[items]
    return {
        items: f"{found.items:,}",
        texts: f"{found.captions:,}",
        f"{texts} per image": _span(found.captions_per_image),
        f"words of a {text}": _spread(found.words),
        f"tokens of a {text}": _spread(found.tokens),
        "distinct words": f"{words.distinct:,}",
        "words that are one token": _percent(words.one_token),
        "words with [UNK]": _percent(words.unknown),
        "words not in train": "" if words.unseen is None else _percent(words.unseen),
        "tokens used": "unknown" if words.vocabulary is None else f"{words.vocabulary_used:,} of {words.vocabulary:,}",
        "images measured": f"{sizes.looked_at:,}",
        "unreadable images": f"{sizes.unreadable:,}",
        "width": _spread(sizes.width),
        "height": _spread(sizes.height),
        f"shorter side below {image_size}": f"{sizes.smaller:,}",
    }


def _sources(described: Mapping[str, str]) -> Table:
    return Table.headless(list(described.items()))


def _table(splits: list[str], rows: list[dict[str, str]]) -> Table:
    """A row for each quantity, a column for each split."""
    lines = [[name, *(row[name] for row in rows)] for name in rows[0]]
    return Table.of(["", *splits], lines, right=range(1, len(splits) + 1))


def _examples(split: str, found: SplitFindings) -> list[str]:
    kinds: dict[str, Found] = {
        "missing": found.missing,
        "corrupt": found.corrupt,
        "duplicate": found.duplicates,
        "empty": found.captions.empty,
    }
    return [
        f"  {kind} in {split}: {example}" for kind, of_kind in kinds.items() for example in of_kind.examples[:_SHOWN]
    ]


def _span(numbers: Distribution) -> str:
    """Minimum, maximum and mean; one number where they are equal."""
    if numbers.least == numbers.greatest:
        return f"{numbers.least:,}"
    return f"{numbers.least:,} to {numbers.greatest:,}, mean {numbers.mean:.2f}"


def _spread(numbers: Distribution | None) -> str:
    """Mean, percentiles and maximum, from which limits are chosen."""
    if numbers is None:
        return "unknown"
    if numbers.least == numbers.greatest:
        return f"{numbers.least:,}"
    return f"{numbers.mean:.1f}; 5% {numbers.p5:,}, 50% {numbers.p50:,}, 95% {numbers.p95:,}, max {numbers.greatest:,}"


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.2%}"
