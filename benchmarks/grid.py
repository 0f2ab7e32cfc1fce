"""Measure the effect of pretraining and of the codebook: the table of docs/results.md.

    python -m benchmarks.grid --seeds 3 --runs runs/grid

Trains retrieval and VQA on drawn scenes from scratch, and after CLIP, ALBEF and CODIS pretraining of equal length, with
each seed. Runs `--jobs` chains of trainings at a time, with one thread each; the default of 800 steps per training is
sized for less than two hours on two cores. The command can be stopped and repeated: finished runs are skipped,
interrupted ones are resumed. The table replaces the one between the markers in docs/results.md.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chain import evaluated, minutes, replace_between, spread, trained
from benchmarks.tour import SPLITS, headline

_ALBEF = ("objectives.contrastive.intra_modal=false", "objectives.codebook.weight=0", "evaluate=[{on: validation}]")
_CLIP = (*_ALBEF, "objectives.matching.weight=0", "objectives.masked_language.weight=0")
PRETRAININGS: dict[str, tuple[str, ...] | None] = {"from scratch": None, "CLIP": _CLIP, "ALBEF": _ALBEF, "CODIS": ()}
TASKS = {"retrieval": "retrieval-scenes", "VQA": "vqa-scenes"}
# Every model is fine-tuned and measured in the same way, whatever its pretraining has.
_RETRIEVAL = (*_ALBEF, "objectives.matching.weight=0")
_BATCH = 64  # of the recipes
BEGIN, END = "<!-- grid -->", "<!-- /grid -->"
_ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Chain:
    """One pretraining with one seed, and the models fine-tuned from it."""

    pretraining: str
    seed: int

    def run(self, runs: Path, steps: int) -> dict[str, tuple[float, ...]]:
        """Return, by task, the metric on each test split and the minutes of both trainings."""
        common = (f"train.seed={self.seed}", f"train.duration={steps} steps", "train.evaluate_every=null")
        slug = f"{self.pretraining.lower().replace(' ', '-')}-seed{self.seed}"
        changes, spent = PRETRAININGS[self.pretraining], 0.0
        environment, start = _ONE_THREAD, ("init=null",)
        if changes is not None:
            pretrained = trained("scenes", f"scenes-{slug}", runs, *common, *changes, environment=_ONE_THREAD)
            spent = minutes(pretrained)
            environment, start = _ONE_THREAD | {"CBALIGN_PRETRAINED": str(pretrained.resolve())}, ()
        else:
            environment = _ONE_THREAD | {"CBALIGN_PRETRAINED": str(runs.resolve())}  # named by the specs, not used
        # Not more questions are made than are asked.
        of_task = {"retrieval": _RETRIEVAL, "VQA": (f"data.train.size={_BATCH * steps}",)}
        found: dict[str, tuple[float, ...]] = {}
        for task, spec in TASKS.items():
            run = trained(spec, f"{spec}-{slug}", runs, *common, *of_task[task], *start, environment=environment)
            numbers = (headline(evaluated(run, split)) for split in SPLITS)
            found[task] = (*numbers, spent + minutes(run))
        return found


def table(found: dict[Chain, dict[str, tuple[float, ...]]]) -> str:
    """Format the mean ± standard deviation over seeds."""
    lines = ["| task | measure | pretraining | test | compositions | minutes |", "|---|---|---|---|---|---|"]
    for task, measure in (("retrieval", "text → image R@10"), ("VQA", "accuracy")):
        for pretraining in PRETRAININGS:
            of_seeds = [numbers[task] for chain, numbers in found.items() if chain.pretraining == pretraining]
            cells = " | ".join(spread(list(values)) for values in zip(*of_seeds))
            lines.append(f"| {task} | {measure} | {pretraining} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/grid"))
    parser.add_argument("--results", type=Path, default=Path("docs/results.md"))
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    # Seed by seed, so that the results of an interrupted run compare all pretrainings.
    chains = [Chain(pretraining, seed) for seed in range(options.seeds) for pretraining in PRETRAININGS]
    with ThreadPoolExecutor(options.jobs) as pool:
        found = dict(zip(chains, pool.map(lambda chain: chain.run(options.runs, options.steps), chains)))
    made = table(found)
    replace_between(options.results, BEGIN, END, made)
    print(made)


if __name__ == "__main__":
    main()
