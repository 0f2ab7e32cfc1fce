"""Zero-shot transfer: models of the study on the test splits of data sets that they were not trained on.

    python -m benchmarks.study.transfer
    python -m benchmarks.study.transfer --gallery NAME=PAIRS.json    # a list of {"image": …, "caption": …}

Uses the runs that `python -m benchmarks.study` trained, one for each seed, and writes the matrix in
docs/codebook-study.md.
The numbers are R@10, the mean of both directions, by the protocol that was best on validation.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import cbalign
from benchmarks.chain import replace_between
from benchmarks.study.__main__ import ROOT, readable
from benchmarks.study.design import DATA_SETS, METHODS, base
from benchmarks.study.records import DIRECTIONS, Study
from benchmarks.study.report import BEGIN, END, rows
from cbalign.data.source import open_source

Pairs = Sequence[tuple[object, Sequence[str]]]
KEY = "transfer"


def main() -> None:
    """Measure the transfer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=ROOT / "benchmarks/results/study")
    parser.add_argument("--runs", type=Path, default=Path("runs/study"))
    parser.add_argument("--method", choices=METHODS, action="append", help="default: all")
    parser.add_argument("--gallery", action="append", default=[], metavar="NAME=FILE", help="one more gallery")
    options = parser.parse_args()
    study = Study(options.records, options.runs)
    galleries = {DATA_SETS[name]: pairs_of(name) for name in readable()}
    galleries |= {name: read_pairs(Path(file)) for name, _, file in (text.partition("=") for text in options.gallery)}
    lines = [f"| trained on | method | {' | '.join(galleries)} |", "|---|---|" + "---|" * len(galleries)]
    for data_set in readable():
        for row in rows(study, data_set, "test"):
            if options.method and row.method not in options.method:
                continue
            models = [cbalign.load(options.runs / record.run) for record in row.records]
            cells = [
                f"{mean(recall(model, pairs, row.protocol) for model in models):.1f}" for pairs in galleries.values()
            ]
            lines.append(f"| {DATA_SETS[data_set]} | {METHODS[row.method].title} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    chance = [f"{1000 / len(pairs):.1f}" for pairs in galleries.values()]
    lines.append(f"| – | chance | {' | '.join(chance)} |")
    replace_between(ROOT / "docs/codebook-study.md", BEGIN.format(KEY), END.format(KEY), "\n".join(lines) + "\n")


def recall(model: cbalign.Model, pairs: Pairs, protocol: str) -> float:
    """Return R@10 in per cent, the mean of both directions."""
    metrics = cbalign.evaluate(model, data=pairs, on="test", protocols=(protocol,), bootstrap=0).metrics
    return mean(metrics[f"test/{protocol}/{direction}/r10"] for direction in DIRECTIONS)


def pairs_of(data_set: str) -> Pairs:
    """Return the test split of a data set, as the Python API takes it."""
    experiment = cbalign.spec(base(data_set)).experiment
    source = open_source(experiment.data.test, "pairs")
    return [(source.images(index)[0], source.item(index).captions[:1]) for index in range(len(source))]


def read_pairs(file: Path) -> Pairs:
    """Read a list of {"image": path relative to the file, "caption": text or texts}."""
    entries = json.loads(file.read_text(encoding="utf-8"))
    return [
        (
            str(file.parent / entry["image"]),
            [entry["caption"]] if isinstance(entry["caption"], str) else entry["caption"],
        )
        for entry in entries
    ]


if __name__ == "__main__":
    main()
