"""Tables and plots of the study, written from its records alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from benchmarks.chain import replace_between
from benchmarks.study.design import ABLATED, DATA_SETS, METHODS, PUBLISHED
from benchmarks.study.records import Plan, Record, Study, best_trial, describe
from benchmarks.study.statistics import Effect, hits, paired_effect

BASELINE = "clip"
BEGIN, END = "<!-- study {} -->", "<!-- /study {} -->"


@dataclass(frozen=True)
class Row:
    """A method on one data set."""

    method: str
    records: list[Record]
    protocol: str  # chosen on validation
    settings: str

    def recall(self, k: int) -> str:
        """R@k as mean ± standard deviation over seeds."""
        values = [record.recall(self.protocol, k) for record in self.records]
        return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"

    @property
    def hits(self) -> np.ndarray:
        """(seeds, images) in per cent."""
        return hits(self.records, self.protocol)


def read(study: Study, data_set: str, phase: str) -> dict[tuple[str, str], list[Record]]:
    """Read the records of a phase by method and label, in the order of `METHODS` and of the files."""
    found: dict[tuple[str, str], list[Record]] = {}
    for file in sorted((study.records / data_set / phase).glob("*.json")):
        record = Record(**json.loads(file.read_text()))
        found.setdefault((record.plan["method"], record.plan["label"]), []).append(record)
    order = list(METHODS)
    return dict(sorted(found.items(), key=lambda item: order.index(item[0][0])))


def rows(study: Study, data_set: str, phase: str) -> list[Row]:
    """Return the methods of a phase on the test split."""
    tried: dict[str, list[Record]] = {}
    for (method, _), records in read(study, data_set, "tune").items():
        tried.setdefault(method, []).extend(records)
    return [
        Row(method, records, best.best_protocol(), describe(best.plan["changes"]))
        for (method, _), records in read(study, data_set, phase).items()
        for best in [best_trial(tried[method])]
    ]


def effects(found: Sequence[Row], baseline: str) -> dict[str, Effect]:
    """Return the effect of each method relative to a baseline."""
    reference = next(row for row in found if row.method == baseline)
    return {row.method: paired_effect(reference.hits, row.hits) for row in found if row.method != baseline}


def method_table(study: Study, data_set: str) -> str:
    """Return the table of a data set: equal steps, then equal time."""
    lines = [
        f"| method | ranked by | seeds | R@1 | R@10 | R@1 against {METHODS[BASELINE].title} (95 %) | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for phase, suffix in (("test", ""), ("time", ", for CODIS's time")):
        found = rows(study, data_set, phase)
        whole = found if any(row.method == BASELINE for row in found) else []
        against = effects(whole, BASELINE) if whole else {}
        for row in found:
            title = METHODS[row.method].title + suffix
            seconds = mean(record.seconds for record in row.records)
            effect = str(against.get(row.method, "")) or "–"
            lines.append(
                f"| {title} | `{row.protocol}` | {len(row.records)} | {row.recall(1)} | {row.recall(10)} "
                f"| {effect} | {seconds:.0f} |"
            )
    return "\n".join(lines) + "\n"


def settings_table(study: Study, data_set: str) -> str:
    """Return the settings that each method chose."""
    lines = ["| method | chosen on validation |", "|---|---|"]
    lines += [f"| {METHODS[row.method].title} | {row.settings} |" for row in rows(study, data_set, "test")]
    return "\n".join(lines) + "\n"


def ablation_table(study: Study, data_set: str) -> str:
    """Return the ablations on the validation split, by `code` and by `dual`."""
    found = {label: records for (_, label), records in read(study, data_set, "ablation").items()}
    whole = found.pop("as tuned", None)
    if whole is None:
        return ""
    lines = ["| CODIS | R@1, `dual` | R@1, `code` | change, `code` (95 %) |", "|---|---|---|---|"]
    for label, records in {"as tuned": whole, **found}.items():
        cells = [f"{mean(record.recall(protocol) for record in records):.1f}" for protocol in ("dual", "code")]
        change = "–" if records is whole else str(paired_effect(hits(whole, "code"), hits(records, "code")))
        lines.append(f"| {label} | {' | '.join(cells)} | {change} |")
    return "\n".join(lines) + "\n"


def write_report(study: Study, docs: Path) -> None:
    """Write the tables between their markers in docs/results.md and docs/codebook-study.md, and the plots."""
    page = docs / "codebook-study.md"
    for data_set in DATA_SETS:
        for name, make in (("methods", method_table), ("settings", settings_table), ("ablations", ablation_table)):
            key = f"{data_set} {name}"
            if BEGIN.format(key) in page.read_text(encoding="utf-8") and read(study, data_set, "test"):
                replace_between(page, BEGIN.format(key), END.format(key), make(study, data_set))
    plotted = {name: found for name in DATA_SETS if (found := rows(study, name, "test"))}
    (docs / "codebook-study.svg").write_text(plot(plotted), encoding="utf-8")


def quick_table(plans: Sequence[Plan], made: Sequence[Record], recorded: Sequence[Record | None]) -> str:
    """Compare repeated trainings with their records."""
    lines = ["| method | ranked by | R@1 now | R@1 in the record |", "|---|---|---|---|"]
    for plan, now, before in zip(plans, made, recorded, strict=True):
        for protocol in now.ranks:
            known = "–" if before is None else f"{before.recall(protocol):.1f}"
            lines.append(f"| {METHODS[plan.method].title} | `{protocol}` | {now.recall(protocol):.1f} | {known} |")
    return "\n".join(lines)


def plot(found: dict[str, list[Row]]) -> str:
    """Draw the effect of each method relative to CLIP, with intervals, as an SVG that suits light and dark pages."""
    drawn = list(_drawn(found))
    left, right, low, high = 250.0, 690.0, -10.0, 10.0
    height = 40 + 22 * len(drawn)

    def x(value: float) -> float:
        return left + (right - left) * (min(max(value, low), high) - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" font-family="sans-serif" font-size="13" '
        'role="img"><title>R@1 of each method against CLIP, points, with 95 % intervals</title>'
        "<style>text{fill:#333}line,circle{stroke:#333}@media(prefers-color-scheme:dark)"
        "{text{fill:#ddd}line,circle{stroke:#ddd}}</style>"
    ]
    for value in range(int(low), int(high) + 1, 5):
        dashes = "" if value == 0 else ' stroke-dasharray="2 4" opacity="0.5"'
        parts.append(f'<line x1="{x(value)}" x2="{x(value)}" y1="24" y2="{height - 8}"{dashes}/>')
        parts.append(f'<text x="{x(value)}" y="16" text-anchor="middle">{value:+d}</text>')
    for number, (title, effect, colour) in enumerate(drawn):
        y = 40 + 22 * number
        parts.append(f'<text x="{left - 12}" y="{y + 4}" text-anchor="end">{escape(title)}</text>')
        if effect is not None:
            parts.append(f'<line x1="{x(effect.low)}" x2="{x(effect.high)}" y1="{y}" y2="{y}" stroke-width="2"/>')
            parts.append(f'<circle cx="{x(effect.difference)}" cy="{y}" r="5" fill="{colour}"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _drawn(found: dict[str, list[Row]]) -> Iterator[tuple[str, Effect | None, str]]:
    for data_set, methods in found.items():
        yield DATA_SETS[data_set], None, ""
        for method, effect in effects(methods, BASELINE).items():
            colour = "#888" if method not in PUBLISHED else "#c33" if method == ABLATED else "#36c"
            yield METHODS[method].title, effect, colour
