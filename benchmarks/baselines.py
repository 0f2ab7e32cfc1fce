"""CODIS, ALBEF and momentum CLIP in the same code: the table of the README.

    python -m benchmarks.baselines --seeds 3 --runs runs/baselines

Trains each spec with each seed, one after the other, and evaluates the test split. What is finished is not done
again, what was begun is gone on with, so the command can be stopped and repeated. Minutes are those of the training
itself on the machine that ran it. The table replaces the one between the markers in README.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

SPECS = {"CODIS": "quickstart", "ALBEF": "albef", "CLIP": "clip"}
DIRECTIONS = (("image_to_text", "image → text"), ("text_to_image", "text → image"))
METRICS = ("r1", "r5", "r10")
BEGIN, END = "<!-- baselines -->", "<!-- /baselines -->"


@dataclass(frozen=True)
class Row:
    """One method under one protocol and direction: a list over seeds per metric."""

    method: str
    protocol: str
    direction: str
    values: dict[str, list[float]]


def cbalign(*arguments: str) -> str:
    """Run the command line in this environment and give its stdout."""
    done = subprocess.run([sys.executable, "-m", "cbalign", *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def trained(spec: str, seed: int, runs: Path) -> Path:
    """The finished run of a spec and seed."""
    name = f"{spec}-seed{seed}"
    begun = sorted(p.parent for p in runs.glob(f"{name}-*/manifest.json"))
    if begun:
        return Path(cbalign("train", str(begun[-1])).strip())
    arguments = ("--set", f"train.seed={seed}", "--name", name, "--runs-dir", str(runs))
    return Path(cbalign("train", f"experiments/{spec}.yaml", *arguments).strip())


def minutes(run: Path) -> float:
    """From start to end of all attempts, evaluations during the training included."""
    attempts = json.loads((run / "manifest.json").read_text())["attempts"]
    spans = (datetime.fromisoformat(a["ended"]) - datetime.fromisoformat(a["started"]) for a in attempts)
    return sum(span.total_seconds() for span in spans) / 60


def evaluated(run: Path) -> list[dict]:
    """The results of the test split, one per protocol of the spec."""
    return json.loads(cbalign("evaluate", str(run), "--on", "test", "--bootstrap", "0", "--json"))["results"]


def spread(values: list[float], digits: int = 1) -> str:
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {sd:.{digits}f}"


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
    # Seed by seed, so that what is there after an interruption compares all methods.
    for seed in range(options.seeds):
        for method, spec in SPECS.items():
            run = trained(spec, seed, options.runs)
            times.setdefault(method, []).append(minutes(run))
            for result in evaluated(run):
                for key, title in DIRECTIONS:
                    values = collected.setdefault((method, result["protocol"], title), {m: [] for m in METRICS})
                    for metric in METRICS:
                        values[metric].append(result[key]["metrics"][metric])
    order = list(SPECS)
    rows = [Row(*name, values) for name, values in sorted(collected.items(), key=lambda item: order.index(item[0][0]))]
    text = options.readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    made = table(rows, times)
    options.readme.write_text(f"{before}{BEGIN}\n{made}{END}{after}", encoding="utf-8")
    print(made)


if __name__ == "__main__":
    main()
