"""Time `cbalign diff` on specs with about 500 settings, including the start of Python.

    python benchmarks/diff.py [ROUNDS]

Prints the best of several runs in new processes, next to the start-up time of Python; the limit is 0.5 s.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cbalign.experiment.fields import leaves
from cbalign.experiment.load import load_experiment

EVALUATIONS = 58


def write_specs(folder: Path) -> tuple[Path, Path]:
    """Write two specs with this many evaluations, every other one with a different depth."""
    head = "cbalign: 1\nname: many\ndata:\n  train: {source: openmoji, split: train}\nevaluate:\n"
    paths = folder / "a.yaml", folder / "b.yaml"
    for shift, path in enumerate(paths):
        items = (f"  - {{on: train, top_k: {n + 1 + shift * (n % 2)}}}\n" for n in range(EVALUATIONS))
        path.write_text(head + "".join(items), encoding="utf-8")
    return paths


def seconds(*command: str) -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], capture_output=True)
    assert done.returncode in (0, 1), done.stderr.decode()
    return time.perf_counter() - start


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as folder:
        before, after = write_specs(Path(folder))
        count = sum(1 for _ in leaves(load_experiment(before).experiment))
        bare = min(seconds("-c", "pass") for _ in range(rounds))
        whole = min(seconds("-m", "cbalign", "diff", str(before), str(after)) for _ in range(rounds))
    print(f"{count} settings: {whole:.2f} s, of which Python's start {bare:.2f} s (best of {rounds})")


if __name__ == "__main__":
    main()
