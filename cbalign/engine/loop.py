"""The training loop: trains one learner in one run directory, from the run's newest checkpoint to its last step.

One optimiser step is a function of (weights, moments, step number): the order of samples and their augmentation follow
from the step, and torch's generators are seeded from (seed, step, rank). A training that was killed and resumes from
its newest checkpoint therefore computes, on a CPU, bit for bit the same as one that was never killed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import torch

from cbalign.engine.averages import Averages
from cbalign.engine.device import translate_out_of_memory
from cbalign.engine.distribution import World, translate_lost_process_errors
from cbalign.engine.kept_checkpoints import KeptCheckpoints
from cbalign.engine.manifest import AcceptedChanges
from cbalign.engine.optimizer import build_adamw
from cbalign.engine.optimizer_step import OptimizerStep, seed_step
from cbalign.engine.parallel import StepModule
from cbalign.engine.precision import agree_precision, check_precision, explain_emulation
from cbalign.engine.reporter import Reporter
from cbalign.engine.run import RunFolder
from cbalign.engine.run_log import RunLog
from cbalign.engine.schedule import build_schedule, explain_warmup
from cbalign.engine.signals import StopNow, StopSignals
from cbalign.engine.step_schedule import build_step_schedule
from cbalign.engine.task import BatchT, Progress, Training
from cbalign.engine.tracker import Record
from cbalign.errors import Interrupted
from cbalign.experiment.log import LogSection
from cbalign.experiment.training import TrainSection


@dataclass(frozen=True)
class Outcome:
    """The outcome of a completed training."""

    steps: int
    metrics: Mapping[str, float]  # of the last evaluation, empty if the task has none
    seconds: float  # of this process


def fit(
    training: Training[BatchT],
    train: TrainSection,
    run: RunFolder,
    world: World,
    reporter: Reporter,
    *,
    log: LogSection | None = None,
    argv: tuple[str, ...] = (),
    resume_command: str | None = None,
    accepted: AcceptedChanges | None = None,
) -> Outcome:
    """Train a model in `run`, from its newest checkpoint if it has one, to the end.

    Args:
        training: the learner with its data; its model on `world.device`, as before the first step.
        train: the spec's `train` section.
        run: a run directory that no other process uses.
        world: the processes that train together.
        reporter: where progress is shown.
        log: the spec's `log` section; None for its defaults.
        argv: the command, for the manifest.
        resume_command: the command that resumes after an interruption.
        accepted: changes of settings and data since the run began, for the manifest.

    Raises:
        Interrupted: a signal arrived; the step was finished and a checkpoint written.
        DivergenceError: the loss or its gradient is not finite; the step was not made.
        DeviceError: the device ran out of memory.
        StorageError: a file cannot be written; earlier checkpoints are intact.
        CheckpointError: the run's checkpoint is damaged or belongs to another model.
        UsageError: the data or the number of processes changed since the run began.
        ProcessLostError: another process ended.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        if world.is_main:
            stack.enter_context(run.lock())
        signals = stack.enter_context(StopSignals())
        run_log = stack.enter_context(RunLog(run, world, log or LogSection(), reporter.note))
        loop = _Loop(training, train, run, world, reporter, signals, run_log, stack)
        loop.resume()
        loop.begin(argv, accepted)
        command = resume_command or f"cbalign train {run.folder}"
        with (
            translate_out_of_memory(world.device),
            run_log.record_failure(lambda: loop.done),
            translate_lost_process_errors(command),
        ):
            metrics = loop.complete(command)
        run_log.end("finished", step=loop.done, metrics=metrics)
        return Outcome(loop.steps.total_steps, metrics, time.monotonic() - started)


class _Loop(Generic[BatchT]):
    """The state of one `fit`."""

    def __init__(
        self,
        training: Training[BatchT],
        train: TrainSection,
        run: RunFolder,
        world: World,
        reporter: Reporter,
        signals: StopSignals,
        run_log: RunLog,
        stack: ExitStack,
    ) -> None:
        self.precision = agree_precision(train.precision, run_log.precision, world)
        check_precision(world.device, self.precision)
        self.training, self.train, self.run, self.world = training, train, run, world
        self.learner = training.learner
        self.reporter, self.signals, self.run_log, self.stack = reporter, signals, run_log, stack
        steps = build_step_schedule(train, batches_per_epoch=training.batches_per_epoch, processes=world.size)
        self.steps = steps
        self.schedule = build_schedule(train.schedule, train.optimizer.lr, steps.steps_per_epoch, steps.total_steps)
        self.forward = StepModule(self.learner, world, train.parallel)
        optimizer = build_adamw(self.forward.groups, train.optimizer)
        self.optimizer_step = OptimizerStep(
            learner=self.learner,
            forward=self.forward,
            optimizer=optimizer,
            world=world,
            precision=self.precision,
            seed=train.seed,
            clip_norm=train.clip_norm,
            checkpoints=run.checkpoints,
        )
        self.checkpoints = KeptCheckpoints(
            run.checkpoints, self.learner.model, optimizer, steps, train, world, run_log, reporter.note
        )
        self.done = 0
        self.averages = Averages()
        self.busy = 0.0  # seconds spent in steps since the last log line
        self.timed = 0  # steps since then

    def resume(self) -> None:
        """Load the newest checkpoint, if there is one, and drop log records of later steps."""
        if (state := self.checkpoints.load_newest()) is not None:
            state.require_same_length(self.steps, str(self.run.folder))
            self.done, self.averages = state.step, Averages(state.window)
        self.run_log.resume(self.done)

    def begin(self, argv: tuple[str, ...], accepted: AcceptedChanges | None) -> None:
        """Record this attempt in the run's manifest and report what is notable about it."""
        self.run_log.begin(from_step=self.done, argv=argv, precision=self.precision, accepted=accepted)
        total = self.steps.total_steps
        notes = (
            explain_warmup(self.schedule, total),
            explain_emulation(self.world.device, self.precision),
            f"resuming after step {self.done} of {total}" if self.done else "",
        )
        for note in filter(None, notes):
            self.reporter.note(note)

    def complete(self, resume_command: str) -> Mapping[str, float]:
        """Run the remaining steps; return the metrics of the last evaluation."""
        self.learner.model.train()
        self.stack.callback(self.reporter.stop)
        metrics: Mapping[str, float] = {}
        trains = self.done < self.steps.total_steps
        try:
            self._prepare()
            self.reporter.start(self.steps.total_steps, self.done)
            if self.steps.evaluates(self.done):  # a kill may have come between checkpoint and evaluation
                metrics = self.run_log.evaluation(self.done) or self._evaluate()
                self._save_best(metrics)
            batches = self._batches()
            while self.done < self.steps.total_steps:
                self._stop_if_asked()
                self._step(batches)
                if self.steps.checkpoints(self.done):
                    self._save()
                if self.steps.evaluates(self.done):
                    metrics = self._evaluate()
                    self._save_best(metrics)
        except StopNow:
            path = self._save()
            self.reporter.stop()
            raise Interrupted(
                f"Stopped by {self.signals.received or 'a signal to another process'} after step {self.done}"
                f" of {self.steps.total_steps}; saved {path}.",
                remedy=f"Resume with: {resume_command}",
            ) from None
        if not trains or not self.run.checkpoints.joinpath(f"step-{self.done}").exists():
            self._save()  # also removes checkpoints that a process did not get to, because it was killed at the end
        return metrics

    def _prepare(self) -> None:
        """Let the training compute what it needs before the first batch; a signal aborts it in a single process."""

        def prepare(progress: Progress) -> Mapping[str, float]:
            self.training.prepare(self.reporter.note)
            return {}

        with torch.no_grad(), self.signals.immediate() if self.world.size == 1 else nullcontext():
            self.forward.evaluate(prepare, self._progress())

    def _stop_if_asked(self) -> None:
        if self.world.any(self.signals.received is not None):
            raise StopNow

    def _batches(self) -> Iterator[list[BatchT]]:
        """Yield the micro-batches of each remaining step; drop the incomplete last step of an epoch."""
        steps = self.steps
        stream = self.training.batches(steps.first_batch(self.done))
        self.stack.callback(getattr(stream, "close", lambda: None))
        left_over = steps.batches_per_epoch - steps.steps_per_epoch * steps.micro_steps
        while True:
            yield [next(stream) for _ in range(steps.micro_steps)]
            if steps.epoch_ends(self.done):
                for _ in range(left_over):
                    next(stream)

    def _step(self, batches: Iterator[list[BatchT]]) -> None:
        """Run one optimiser step."""
        started = time.monotonic()
        batch = next(batches)
        rate = self.schedule(self.done)
        progress = self._progress(logged=self.steps.logs(self.done + 1))
        for values in self.optimizer_step.run(batch, progress, rate).logged():
            self.averages.add(values)
        self.done += 1
        self.busy += time.monotonic() - started
        self.timed += 1
        self.reporter.advance(self.done)
        if self.steps.logs(self.done):
            self._log(rate)

    def _progress(self, *, logged: bool = True) -> Progress:
        return Progress(
            step=self.done,
            total_steps=self.steps.total_steps,
            steps_per_epoch=self.steps.steps_per_epoch,
            micro_steps=self.steps.micro_steps,
            logged=logged,
        )

    def _log(self, rate: float) -> None:
        means = self.averages.reduce(self.world).means()
        samples = self.timed * self.steps.global_batch_size
        values = {"loss": means.pop("loss"), "lr": rate, **means, "samples_per_second": samples / self.busy}
        self.averages.clear()
        self.busy, self.timed = 0.0, 0
        self._write(Record("train", self.done, self._progress().epoch, values))

    def _write(self, record: Record) -> None:
        self.run_log.log(record)
        with self.signals.interruptible():  # a callback may raise KeyboardInterrupt to stop early
            self.reporter.record(record)

    def _evaluate(self) -> Mapping[str, float]:
        """Evaluate and log. In a single process a signal aborts the evaluation: resuming repeats it."""
        progress = self._progress()
        seed_step(self.train.seed, self.done, self.world.rank)
        self.learner.model.eval()
        try:
            with torch.no_grad(), self.signals.immediate() if self.world.size == 1 else nullcontext():
                metrics = self.forward.evaluate(self.training.evaluate, progress)
        finally:
            self.learner.model.train()
        self._write(Record("evaluation", self.done, progress.epoch, metrics))
        return metrics

    def _save(self) -> Path:
        return self.checkpoints.save(self.done, self.averages)

    def _save_best(self, metrics: Mapping[str, float]) -> None:
        self.checkpoints.save_best(self.done, metrics, self.averages)
