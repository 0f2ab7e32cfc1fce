"""Helpers for benchmarks with several trainings: call the command line, start or resume runs, format spreads."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path


def cbalign(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run the command line in this environment and return its stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "cbalign", *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    return done.stdout


def trained(spec: str, name: str, runs: Path, *changes: str, environment: Mapping[str, str] | None = None) -> Path:
    """Return the finished run of this name; start or resume it if needed, from a spec of experiments/ with changes."""
    begun = sorted(p.parent for p in runs.glob(f"{name}-2*/manifest.json"))
    if begun:
        return Path(cbalign("train", str(begun[-1]), environment=environment).strip())
    arguments = [word for change in changes for word in ("--set", change)]
    arguments += ["--name", name, "--runs-dir", str(runs)]
    return Path(cbalign("train", f"experiments/{spec}.yaml", *arguments, environment=environment).strip())


def minutes(run: Path) -> float:
    """Return the minutes of all attempts, including evaluations during training."""
    attempts = json.loads((run / "manifest.json").read_text())["attempts"]
    spans = (datetime.fromisoformat(a["ended"]) - datetime.fromisoformat(a["started"]) for a in attempts)
    return sum(span.total_seconds() for span in spans) / 60


def evaluated(subject: Path, split: str) -> list[dict]:
    """Return the results on a split, one per protocol of the spec."""
    return json.loads(cbalign("evaluate", str(subject), "--on", split, "--bootstrap", "0", "--json"))["results"]


def spread(values: list[float], digits: int = 1) -> str:
    """Format the mean ± standard deviation."""
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {sd:.{digits}f}"


def replace_between(file: Path, begin: str, end: str, made: str) -> None:
    """Replace the text between two markers of a file."""
    text = file.read_text(encoding="utf-8")
    before, rest = text.split(begin, 1)
    _, after = rest.split(end, 1)
    file.write_text(f"{before}{begin}\n{made}{end}{after}", encoding="utf-8")
