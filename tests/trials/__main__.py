"""Run trials: many cases drawn from a seed, and every file-system operation as a place to be killed at.

    python -m tests.trials                              # all, at the size of `make trials`
    python -m tests.trials specs bundles --count 200    # some, smaller
    python -m tests.trials specs --seed 7 --only 1234   # repeat one case

Prints the counts of each, and for each failure the reduced case and the command that repeats it. Exits with 1 if one
failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.trials.trial import Trial, run_trial

NAMES = {
    "specs": "tests.trials.specs:Specs",
    "data_files": "tests.trials.data_files:DataFiles",
    "checkpoints": "tests.trials.checkpoints:Checkpoints",
    "bundles": "tests.trials.bundles:Bundles",
    "requests": "tests.trials.requests:Requests",
    "crashes": "tests.trials.crashes:Crashes",
    "two_processes": "tests.trials.two_processes:TwoProcesses",
}


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.trials", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--count", type=int, help="cases of each; default: the full size")
    parser.add_argument("--times", type=float, default=1, metavar="FACTOR", help="multiply the full size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="CASE", help="run this case only")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes; default: all cores")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    failed = 0
    for name in options.names or NAMES:
        kind, started = trial_of(name), time.monotonic()
        count = options.count or int(kind.full * options.times)
        numbers = range(count) if options.only is None else [int(options.only)]
        report = run_trial(kind, numbers, seed=options.seed, jobs=options.jobs)
        print(report.text(name, options.seed), f"{time.monotonic() - started:8,.0f}  seconds", sep="\n", flush=True)
        failed += len(report.failed)
    return 1 if failed else 0


def trial_of(name: str) -> type[Trial]:
    """Import a kind of trial."""
    module, _, member = NAMES[name].partition(":")
    kind: type[Trial] = getattr(__import__(module, fromlist=[member]), member)
    return kind


if __name__ == "__main__":
    sys.exit(main())
