"""Train a recipe with several seeds, and print the mean and range of its retrieval metrics on the test split.

    python -m benchmarks.recipe quickstart
    python -m benchmarks.recipe photos --seeds 3

Training and evaluation are those of `cbalign train` and `cbalign evaluate`. Images of the test split whose pixels are
also in the training split, under another name, are counted; the table is repeated without them.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cbalign
from cbalign.data.items import Pair
from cbalign.data.source import Source, open_source

METRICS = ("r1", "r5", "r10")
DIRECTIONS = {"image_to_text": "image → text", "text_to_image": "text → image"}

Scores = dict[str, list[float]]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", help="a recipe or a spec file")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    parser.add_argument("--on", default="test", help="the split to evaluate on")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    arguments = parser.parse_args()
    spec = cbalign.spec(arguments.spec)
    experiment = spec.experiment
    train, held_out = (
        open_source(getattr(experiment.data, split), experiment.task.items) for split in ("train", arguments.on)
    )
    new = without_seen(train, held_out)
    whole: Scores = defaultdict(list)
    unseen: Scores = defaultdict(list)
    minutes = []
    for seed in range(arguments.seeds):
        start = time.perf_counter()
        run = cbalign.train(cbalign.spec(arguments.spec, **{"train.seed": seed}), runs=arguments.runs)
        minutes.append((time.perf_counter() - start) / 60)
        add(whole, cbalign.evaluate(run, on=arguments.on, keep=True).metrics)
        if len(new) < len(held_out):
            add(unseen, cbalign.evaluate(run, data=pairs(held_out, new), on=arguments.on).metrics)
        print(f"seed {seed}: {run.path}, trained in {minutes[-1]:.1f} minutes", flush=True)
    print(f"\n{arguments.spec}, {arguments.on}, {arguments.seeds} seeds: mean (least to greatest)\n")
    print(table(whole))
    if unseen:
        seen = len(held_out) - len(new)
        print(f"\nWithout the {seen} of {len(held_out)} images whose pixels are also in the training split:\n")
        print(table(unseen))


def without_seen(train: Source[Pair], held_out: Source[Pair]) -> list[int]:
    """Return the items of `held_out` whose image has other pixels than every image of `train`."""
    seen = {fingerprint(train, index) for index in range(len(train))}
    return [index for index in range(len(held_out)) if fingerprint(held_out, index) not in seen]


def fingerprint(source: Source[Pair], index: int) -> bytes:
    """Hash the pixels of the image of an item."""
    image = source.images(index)[0]
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).digest()


def pairs(source: Source[Pair], items: Iterable[int]) -> list[tuple[object, Sequence[str]]]:
    """Return items as the pairs that the Python API takes."""
    return [(source.images(index)[0], source.item(index).captions) for index in items]


def add(scores: Scores, metrics: Mapping[str, float]) -> None:
    """Collect the metrics of one run by `protocol/direction/metric`."""
    for name, value in metrics.items():
        scores[name.partition("/")[2]].append(value)


def table(scores: Scores) -> str:
    """Return the metrics as a Markdown table."""
    lines = ["| protocol | direction | R@1 | R@5 | R@10 |", "|---|---|---|---|---|"]
    for protocol in dict.fromkeys(name.split("/")[0] for name in scores):
        for direction, title in DIRECTIONS.items():
            values = [scores[f"{protocol}/{direction}/{metric}"] for metric in METRICS]
            if all(values):
                cells = (f"{sum(v) / len(v):.1f} ({min(v):.1f} to {max(v):.1f})" for v in values)
                lines.append(f"| {protocol} | {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
