"""Train and evaluate CODIS, ALBEF and momentum CLIP with the same code: the table of the README.

    python -m benchmarks.baselines --seeds 3 --runs runs/baselines

Trains each spec with each seed, one after the other, and evaluates the test split. The command can be stopped and
repeated: finished runs are skipped, interrupted ones are resumed. Minutes are the training time on the machine that ran
it. The table replaces the one between the markers in README.md.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chain import evaluated, minutes, replace_between, spread, trained

SPECS = {"CODIS": "scratch", "ALBEF": "albef", "CLIP": "moco-clip"}
DIRECTIONS = (("image_to_text", "image → text"), ("text_to_image", "text → image"))
METRICS = ("r1", "r5", "r10")
BEGIN, END = "<!-- baselines -->", "<!-- /baselines -->"


@dataclass(frozen=True)
class Row:
    """Results of one method under one protocol and direction: a list over seeds per metric."""

    method: str
    protocol: str
    direction: str
    values: dict[str, list[float]]


def table(rows: list[Row], times: dict[str, list[float]]) -> str:
    lines = ["| method | protocol | direction | R@1 | R@5 | R@10 | minutes |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = " | ".join(spread(row.values[m]) for m in METRICS)
        lines.append(f"| {row.method} | {row.protocol} | {row.direction} | {cells} | {spread(times[row.method])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/baselines"))
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    options = parser.parse_args()
    times: dict[str, list[float]] = {}
    collected: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    # Seed by seed, so that the results of an interrupted run compare all methods.
    for seed in range(options.seeds):
        for method, spec in SPECS.items():
            run = trained(spec, f"{spec}-seed{seed}", options.runs, f"train.seed={seed}")
            times.setdefault(method, []).append(minutes(run))
            for result in evaluated(run, "test"):
                for key, title in DIRECTIONS:
                    values = collected.setdefault((method, result["protocol"], title), {m: [] for m in METRICS})
                    for metric in METRICS:
                        values[metric].append(result[key]["metrics"][metric])
    order = list(SPECS)
    rows = [Row(*name, values) for name, values in sorted(collected.items(), key=lambda item: order.index(item[0][0]))]
    made = table(rows, times)
    replace_between(options.readme, BEGIN, END, made)
    print(made)


if __name__ == "__main__":
    main()
