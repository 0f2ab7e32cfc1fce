"""Train and evaluate all tasks on drawn scenes and easy-VQA, from scratch: what `make tour` runs.

    python -m benchmarks.tour --runs runs/tour

Pretrains, fine-tunes each task from the result, evaluates both test splits (unseen scenes, and unseen combinations of
shape and colour), exports each model and evaluates the bundle. Finished trainings are skipped, interrupted ones are
resumed. Prints a table; exits with 1 if a number is below its bar.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chain import cbalign, evaluated, minutes, replace_between, trained

SPLITS = ("test", "compositions")
PRETRAINING, ASSIGNMENT = "scenes", "nlvr2-assignment-scenes"
BEGIN, END = "<!-- tour -->", "<!-- /tour -->"


@dataclass(frozen=True)
class Stage:
    """One evaluation of a spec's run, with the number that it has to reach on the test split.

    `start` names the spec whose run it starts from, `splits` the splits to evaluate, `test` first.
    """

    title: str
    spec: str
    measure: str
    bar: float | None
    start: str | None = PRETRAINING
    splits: tuple[str, ...] = SPLITS


STAGES = (
    Stage("retrieval, zero-shot", PRETRAINING, "text → image R@10", None, start=None),
    Stage("retrieval", "retrieval-scenes", "text → image R@10", 60.0),
    Stage("VQA", "vqa-scenes", "accuracy", 80.0),
    Stage("NLVR2", "nlvr2-scenes", "accuracy", 65.0, start=ASSIGNMENT),
    Stage("SNLI-VE", "entailment-scenes", "accuracy", 75.0),
    Stage("easy-VQA", "vqa-easy", "accuracy", 95.0, splits=("test",)),
)


@dataclass(frozen=True)
class Row:
    """Results of a stage, in per cent."""

    stage: Stage
    of_splits: tuple[float, ...]
    bundle: float
    minutes: float

    @property
    def test(self) -> float:
        return self.of_splits[0]

    def __str__(self) -> str:
        bar = "" if self.stage.bar is None else f"{self.stage.bar:.0f}"
        measured = (*(f"{number:.1f}" for number in self.of_splits), "")[: len(SPLITS)]
        numbers = (*measured, f"{self.bundle:.1f}", bar, f"{self.minutes:.1f}")
        return f"| {self.stage.title} | {self.stage.measure} | {' | '.join(numbers)} |"


def headline(results: list[dict]) -> float:
    """Return R@10 from text to image by the dual protocol, or the first metric of a task."""
    first = results[0]
    if first.get("kind") == "scored":
        return float(next(iter(first["metrics"].values())))
    dual = next(result for result in results if result["protocol"] == "dual")
    return float(dual["text_to_image"]["metrics"]["r10"])


def continued(spec: str, start: Path, runs: Path) -> Path:
    """Return the finished run of a spec that starts from another run."""
    return trained(spec, spec, runs, environment={"CBALIGN_PRETRAINED": str(start.resolve())})


def row(stage: Stage, run: Path, exports: Path) -> Row:
    of_splits = tuple(headline(evaluated(run, split)) for split in stage.splits)
    bundle = exports / stage.spec
    cbalign("export", str(run), "--output", str(bundle), "--force")
    return Row(stage, of_splits, headline(evaluated(bundle, "test")), minutes(run))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/tour"))
    parser.add_argument("--exports", type=Path, default=Path("exports"))
    parser.add_argument("--results", type=Path, help="also write the table between its markers in this file")
    options = parser.parse_args()
    runs = {PRETRAINING: trained(PRETRAINING, PRETRAINING, options.runs)}
    runs[ASSIGNMENT] = continued(ASSIGNMENT, runs[PRETRAINING], options.runs)
    rows = []
    for stage in STAGES:
        run = runs[stage.spec] if stage.start is None else continued(stage.spec, runs[stage.start], options.runs)
        rows.append(row(stage, run, options.exports))
    head = ("| task | measure | test | compositions | ONNX, test | bar | minutes |", "|---|---|---|---|---|---|---|")
    made = "\n".join((*head, *map(str, rows))) + "\n"
    print(made)
    if options.results is not None:
        replace_between(options.results, BEGIN, END, made)
    below = [one.stage.title for one in rows if one.stage.bar is not None and one.test < one.stage.bar]
    if below:
        sys.exit(f"below the bar: {', '.join(below)}")


if __name__ == "__main__":
    main()
