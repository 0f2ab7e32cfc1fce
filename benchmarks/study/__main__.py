"""Does a codebook help? Compare methods on frozen towers, each tuned with the same number of trials.

    python -m benchmarks.study                    # everything that has no record yet; then writes docs/results.md
    python -m benchmarks.study --data openmoji    # one data set
    python -m benchmarks.study --quick            # repeat one row of the table: one data set, one seed

Every training leaves a record in benchmarks/results/study, so that the command resumes where it was stopped and tables
are written from records alone. For each data set:

1. `tune`: each method tries the same number of settings on the validation split.
2. `test`: with its best settings, each method is trained with several seeds and measured on the test split.
3. `time`: methods whose steps are faster than CODIS's are trained again, for as long as CODIS.
4. `ablation`: CODIS with one setting changed at a time, on the validation split.

Photographs need the folder CBALIGN_PHOTOS; see the recipe `photos`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from benchmarks.study.design import ABLATED, ABLATIONS, DATA_SETS, METHODS, SEEDS, trials
from benchmarks.study.records import OtherSettingsError, Plan, Record, Study, best_trial
from benchmarks.study.report import quick_table, write_report

TUNING_SEED = 1000
ABLATION_SEEDS = 2
LONGEST = 4.0  # times as many steps, at most
STEPS = 200
ROOT = Path(__file__).parents[2]


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA_SETS, action="append", help="data set; default: all that can be read")
    parser.add_argument("--method", choices=METHODS, action="append", help="method; default: all")
    parser.add_argument("--records", type=Path, default=ROOT / "benchmarks/results/study", help="folder of the records")
    parser.add_argument("--runs", type=Path, default=Path("runs/study"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of phase `test`")
    parser.add_argument("--phase", choices=PHASES, action="append", help="phase; default: all")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, one thread each")
    parser.add_argument("--quick", action="store_true", help="repeat the rows of CLIP and CODIS on OpenMoji, seed 0")
    options = parser.parse_args()
    try:
        _run(options)
    except OtherSettingsError as error:
        sys.exit(f"error: {error}")


def _run(options: argparse.Namespace) -> None:
    study, methods = Study(options.records, options.runs), options.method or list(METHODS)
    if options.quick:
        repeated = Study(options.runs / "quick", options.runs)
        plans = [plan for method in ("clip", ABLATED) for plan in test_plans(study, "openmoji", method, 1)]
        made = _train(repeated, plans, options.jobs)
        print(quick_table(plans, made, [study.find(plan) for plan in plans]))
        return
    for data_set in options.data or readable():
        for phase in options.phase or PHASES:
            plans = [plan for m in methods for plan in PHASES[phase](study, data_set, m, options.seeds)]
            _train(study, plans, options.jobs)
    write_report(study, ROOT / "docs")


def tune_plans(study: Study, data_set: str, method: str, seeds: int) -> list[Plan]:
    """Return the trials of a method."""
    return [
        Plan(data_set, "tune", method, f"trial {number}", TUNING_SEED, changes, "validation")
        for number, changes in enumerate(trials(method))
    ]


def test_plans(study: Study, data_set: str, method: str, seeds: int) -> list[Plan]:
    """Return the trainings of a method with its best settings."""
    tuned = _tuned(study, data_set, method)
    return [Plan(data_set, "test", method, "tuned", seed, tuned, "test") for seed in range(seeds)]


def time_plans(study: Study, data_set: str, method: str, seeds: int) -> list[Plan]:
    """Return the trainings of a method for as long as CODIS; none if its steps are as slow."""
    times = [
        median(record.seconds for plan in test_plans(study, data_set, name, seeds) if (record := study.find(plan)))
        for name in (method, ABLATED)
    ]
    steps = 10 * round(STEPS / 10 * min(LONGEST, times[1] / times[0]))
    if steps < 1.2 * STEPS:
        return []
    changes = {**_tuned(study, data_set, method), "train.duration": f"{steps} steps"}
    return [Plan(data_set, "time", method, "as long as CODIS", seed, changes, "test") for seed in range(seeds)]


def ablation_plans(study: Study, data_set: str, method: str, seeds: int) -> list[Plan]:
    """Return CODIS with its best settings, and with one setting changed at a time."""
    if method != ABLATED:
        return []
    tuned = _tuned(study, data_set, method)
    return [
        Plan(data_set, "ablation", method, label, TUNING_SEED + 1 + seed, {**tuned, **changes}, "validation")
        for label, changes in {"as tuned": {}, **ABLATIONS}.items()
        for seed in range(min(seeds, ABLATION_SEEDS))
    ]


PHASES = {"tune": tune_plans, "test": test_plans, "time": time_plans, "ablation": ablation_plans}


def _tuned(study: Study, data_set: str, method: str) -> dict[str, object]:
    """Return the best settings of a method on the validation split."""
    tried = [(plan, study.find(plan)) for plan in tune_plans(study, data_set, method, 1)]
    missing = [plan.label for plan, record in tried if record is None]
    if missing:
        sys.exit(f"error: {data_set}, {method}: no record of {missing[0]}. Run the phase `tune` first.")
    return dict(best_trial([record for _, record in tried if record is not None]).plan["changes"])


def _train(study: Study, plans: Sequence[Plan], jobs: int) -> list[Record]:
    """Make the records of all plans, several at a time."""
    for plan in plans:
        study.find(plan)  # other settings end the study before anything is trained
    if jobs == 1:
        return [study.record(plan) for plan in plans]
    with ProcessPoolExecutor(jobs, get_context("spawn"), _one_thread) as pool:
        return list(pool.map(partial(_record, study), plans))


def _record(study: Study, plan: Plan) -> Record:
    return study.record(plan)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def readable() -> Iterable[str]:
    """Data sets that can be read on this machine."""
    return [name for name in DATA_SETS if name != "photos" or "CBALIGN_PHOTOS" in os.environ]


if __name__ == "__main__":
    main()
