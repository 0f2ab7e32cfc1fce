"""Compare the memory and operations that `cbalign plan` predicts with real trainings on this CPU.

    python -m benchmarks.plan

Each size trains on the drawings of the recipe scratch for `STEPS` optimiser steps through the engine, as
`cbalign train` does.
Memory is the peak of torch's allocator, from its own events, starting before the model is built; operations are those
that torch counts during the steps. Prints a Markdown table; exits with 1 if any prediction is off by more than
`LIMIT`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from cbalign.engine.distribution import World
from cbalign.engine.loop import fit
from cbalign.engine.reporter import Silent
from cbalign.engine.run import create_run
from cbalign.experiment.load import LoadedExperiment, load_experiment
from cbalign.lab.plan.plan import make_plan
from cbalign.tasks.train import open_training

STEPS = 3
LIMIT = 0.15
ALIKE = (
    "train.device=cpu",
    f"train.duration={STEPS} steps",
    "train.schedule.warmup=1 step",
    "train.log_every=1000 steps",
    "evaluate=[]",
    "data.workers=0",
    # A full queue and a teacher that teaches, as in all but the first steps.
    "model.queue.length=64",
    "model.teacher.distillation=0.4",
    "model.teacher.ramp_epochs=0",
)
SIZES = {
    "small": ("model.vision.layers=3", "model.fusion.layers=1", "train.batch_size=32"),
    "scratch": (),
    "tall, accumulating": (
        "model.vision.width=384",
        "model.vision.heads=6",
        "model.vision.image_size=96",
        "train.batch_size=32",
        "train.global_batch_size=64",
    ),
}


@dataclass(frozen=True)
class Row:
    """Peak bytes and operations per step, each predicted and measured."""

    size: str
    precision: str
    memory: tuple[float, float]
    operations: tuple[float, float]

    @property
    def errors(self) -> tuple[float, float]:
        return self.memory[0] / self.memory[1] - 1, self.operations[0] / self.operations[1] - 1


def measure(loaded: LoadedExperiment, folder: Path) -> tuple[float, float]:
    """Measure the peak bytes and the operations per step of a real training."""
    experiment, world = loaded.experiment, World.single("cpu")
    counter = FlopCounterMode(display=False)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        training = open_training(experiment, world)
        run = create_run(folder, experiment.name, spec="", resolved="", fingerprint="", facts={})
        with counter:
            fit(training, experiment.train, run, world, Silent())
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak, counter.get_total_flops() / STEPS


def compare(size: str, precision: str) -> Row:
    loaded = load_experiment("scratch", [*ALIKE, *SIZES[size], f"train.precision={precision}"])
    plan = make_plan(loaded, [])
    with tempfile.TemporaryDirectory() as folder:
        memory, operations = measure(loaded, Path(folder))
    return Row(size, precision, (plan.memory.total, memory), (plan.step_operations, operations))


def main() -> None:
    rows = [compare(size, precision) for size in SIZES for precision in ("fp32", "bf16")]
    print("| size | precision | memory, MiB: plan | measured | error | operations, G: plan | measured | error |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        memory, operations = (
            f"{plan / unit:.1f} | {real / unit:.1f} | {error:+.1%}"
            for (plan, real), unit, error in zip((row.memory, row.operations), (2**20, 1e9), row.errors)
        )
        print(f"| {row.size} | {row.precision} | {memory} | {operations} |")
    print(json.dumps({"worst": max(abs(error) for row in rows for error in row.errors)}), file=sys.stderr)
    sys.exit(any(abs(error) > LIMIT for row in rows for error in row.errors))


if __name__ == "__main__":
    main()
