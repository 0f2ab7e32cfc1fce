"""The training loop: trains one learner in one run directory, from the run's newest checkpoint to its last step.

One optimiser step is a function of (weights, moments, step number): the order of samples and their augmentation follow
from the step, and torch's generators are seeded from (seed, step, rank). A training that was killed and resumes from
its newest checkpoint therefore computes, on a CPU, bit for bit the same as one that was never killed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic

import torch

from cbalign.engine.averages import Averages
from cbalign.engine.checkpoint import TrainingState, load_checkpoint, save_checkpoint, set_aside
from cbalign.engine.device import translate_out_of_memory
from cbalign.engine.distribution import World, translate_lost_process_errors
from cbalign.engine.divergence import StepNumbers, divergence_error, explain_gradient, explain_losses
from cbalign.engine.manifest import AcceptedChanges
from cbalign.engine.optimizer import build_adamw, set_learning_rate, trained_parameters
from cbalign.engine.parallel import StepModule
from cbalign.engine.precision import agree_precision, autocast, check_precision, explain_emulation
from cbalign.engine.reporter import Reporter
from cbalign.engine.run import RunFolder, checkpoint_steps, latest_checkpoint, list_checkpoints
from cbalign.engine.run_log import RunLog
from cbalign.engine.schedule import build_schedule, explain_warmup
from cbalign.engine.sharding import clip, total_norm
from cbalign.engine.signals import StopNow, StopSignals
from cbalign.engine.step_schedule import build_step_schedule
from cbalign.engine.task import BatchT, Progress, StepOutput, Training
from cbalign.engine.tracker import Record
from cbalign.errors import DamagedCheckpointError, Interrupted
from cbalign.experiment.log import LogSection
from cbalign.experiment.training import TrainSection
from cbalign.parts.metrics import Criterion


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
        self.optimizer = build_adamw(self.forward.groups, train.optimizer)
        self.done = 0
        self.averages = Averages()
        self.busy = 0.0  # seconds spent in steps since the last log line
        self.timed = 0  # steps since then

    def resume(self) -> None:
        """Load the newest checkpoint, if there is one, and drop log records of later steps."""
        if (state := self._newest_state()) is not None:
            state.require_same_length(self.steps, str(self.run.folder))
            self.done, self.averages = state.step, Averages(state.window)
        self.run_log.resume(self.done)

    def _newest_state(self) -> TrainingState | None:
        """Load the newest checkpoint that is intact; damaged newer ones are set aside and reported."""
        checkpoints = self.world.share(list_checkpoints(self.run.checkpoints))
        damaged: list[Path] = []
        for checkpoint in reversed(checkpoints):
            state, damage = None, None
            try:
                state = load_checkpoint(checkpoint, self.learner.model, self.optimizer)
            except DamagedCheckpointError as error:
                damage = error
            found = next((each for each in self.world.collect(damage) if each is not None), None)
            if found is None:
                if self.world.is_main:
                    set_aside(damaged)
                return state
            if checkpoint == checkpoints[0]:
                raise found  # nothing is left to fall back to
            damaged.append(checkpoint)
            self.reporter.note(f"falling back to the checkpoint before {checkpoint.name}: {found.message}")
        return None

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
                self._keep_best(metrics)
            batches = self._batches()
            while self.done < self.steps.total_steps:
                self._stop_if_asked()
                self._step(batches)
                if self.steps.checkpoints(self.done):
                    self._save()
                if self.steps.evaluates(self.done):
                    metrics = self._evaluate()
                    self._keep_best(metrics)
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
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        seed_step(self.train.seed, self.done, self.world.rank)
        progress = self._progress(logged=self.steps.logs(self.done + 1))
        self.learner.before_step(progress)
        outputs = [self._backward(micro_batch, replace(progress, micro_step=i)) for i, micro_batch in enumerate(batch)]
        self.forward.complete_gradients()
        parameters = [p for p in trained_parameters(self.optimizer) if p.grad is not None]
        norm = total_norm(parameters)
        self._check_finite(StepNumbers.read(outputs, norm, self.world.device), batch)
        if self.train.clip_norm is not None:
            clip(parameters, self.train.clip_norm, norm)
        self.optimizer.step()
        self.learner.after_step(progress)
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

    def _backward(self, batch: BatchT, progress: Progress) -> StepOutput:
        last = progress.micro_step == progress.micro_steps - 1
        with nullcontext() if last else self.forward.without_synchronisation():
            with autocast(self.world.device, self.precision):
                output = self.forward(batch.to(self.world.device), progress)
            with self.world.waiting() if last else nullcontext():  # gradients are averaged in the last one
                torch.autograd.backward(output.loss / progress.micro_steps)
        return output

    def _check_finite(self, numbers: StepNumbers, batch: list[BatchT]) -> None:
        """Add the step's numbers to the averages if they are finite on all processes.

        Raises:
            DivergenceError: the loss or the gradient of some process is not finite.
        """
        if self.world.any(not numbers.is_finite):
            indices = [micro_batch.indices for micro_batch in batch]
            # DDP has spread a bad loss's gradient to all ranks; the one with the loss knows the samples.
            losses = [text for text in self.world.collect(explain_losses(numbers.measured, indices)) if text]
            raise divergence_error(
                losses[0] if losses else explain_gradient(self.learner.model, indices),
                step=self.done + 1,
                total_steps=self.steps.total_steps,
                checkpoint=latest_checkpoint(self.run.checkpoints),
            )
        for values in numbers.logged():
            self.averages.add(values)

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

    def _keep_best(self, metrics: Mapping[str, float]) -> None:
        """Write a checkpoint if the evaluation after this step is the best by `keep_best`.

        Raises:
            UsageError: there is no such metric.
        """
        if self.train.keep_best is not None:
            Criterion.of(self.train.keep_best, metrics)
            if self._best_step() == self.done:
                self._save()

    def _best_step(self) -> int | None:
        """The step of the best evaluation by `keep_best`, among this step and those that have a checkpoint."""
        word = self.train.keep_best
        return None if word is None else self.run_log.best(word, {self.done, *checkpoint_steps(self.run.checkpoints)})

    def _save(self) -> Path:
        """Write a checkpoint."""
        state = TrainingState.of(self.done, self.steps, self.averages.reduce(self.world).totals())
        self.run_log.sync()
        keep, writes = self.train.keep_checkpoints, self.world.is_main
        path = save_checkpoint(
            self.run.checkpoints,
            state,
            self.learner.model,
            self.optimizer,
            keep=keep,
            best=self._best_step(),
            writes=writes,
        )
        self.world.barrier()
        return path


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's generators for one step of one process."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "big") >> 1)
