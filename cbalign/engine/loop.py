"""The training loop: one task, one run directory, from wherever the run stands to its last step.

One optimiser step is a function of (weights, moments, step number): the order of samples and their augmentation follow
from the step, and torch's generators are seeded anew from (seed, step, rank). Therefore a training that was killed and
goes on from its newest checkpoint computes, on a CPU, the very bits of one that was never killed.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic

import torch
from torch import Tensor

from cbalign.engine.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from cbalign.engine.distribution import World, losses_explained
from cbalign.engine.divergence import Measured, explain_gradient, explain_losses
from cbalign.engine.manifest import Manifest, Status
from cbalign.engine.optimizer import build_adamw, set_learning_rate, trained_parameters
from cbalign.engine.parallel import StepModule
from cbalign.engine.precision import (
    Precision,
    PrecisionSetting,
    autocast,
    check_precision,
    choose_precision,
    multiplies_bf16,
)
from cbalign.engine.provenance import describe_attempt
from cbalign.engine.records import MetricsFile, Record, TensorBoardFile, Window
from cbalign.engine.reporter import Reporter
from cbalign.engine.run import Run, latest_checkpoint
from cbalign.engine.schedule import build_schedule
from cbalign.engine.sharding import clip, total_norm
from cbalign.engine.signals import StopNow, StopSignals
from cbalign.engine.task import BatchT, Progress, StepOutput, Task
from cbalign.engine.timetable import build_timetable
from cbalign.errors import CbalignError, DeviceError, DivergenceError, Interrupted, UsageError
from cbalign.spec.training import TrainSection


@dataclass(frozen=True)
class Outcome:
    """What a completed training came to."""

    steps: int
    metrics: Mapping[str, float]  # of the last evaluation, empty if the task has none
    seconds: float  # of this process


def fit(
    task: Task[BatchT],
    train: TrainSection,
    run: Run,
    world: World,
    reporter: Reporter,
    *,
    argv: tuple[str, ...] = (),
    resume_command: str | None = None,
) -> Outcome:
    """Train `task` in `run`, from its newest checkpoint if it has one, to the end.

    Args:
        task: on `world.device`, as it is before the first step.
        train: the spec's `train` section.
        run: a run directory, this process's alone.
        world: the processes that train together.
        reporter: where progress is shown.
        argv: the command, for the manifest.
        resume_command: what to type to go on after an interruption.

    Raises:
        Interrupted: a signal arrived; the step was finished and a checkpoint written.
        DivergenceError: the loss or its gradient is not finite; the step was not made.
        StorageError: a file cannot be written; the checkpoints before it are intact.
        CheckpointError: the run's checkpoint is damaged or of another model.
        UsageError: the data or the number of processes changed since the run began.
        ProcessLostError: another process is gone.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        if world.is_main:
            stack.enter_context(run.lock())
        signals = stack.enter_context(StopSignals())
        training = _Training(task, train, run, world, reporter, signals, stack)
        training.resume()
        training.begin(argv)
        try:
            command = resume_command or f"cbalign train {run.folder}"
            with losses_explained(command):
                metrics = training.complete(command)
        except Interrupted as stop:
            training.end("interrupted", stop.message)
            raise
        except DivergenceError as error:
            training.end("diverged", error.message)
            raise
        except torch.OutOfMemoryError as error:
            training.end("failed", str(error))
            raise DeviceError(
                f"{world.device} ran out of memory: {str(error).splitlines()[0]}",
                remedy="Make train.batch_size smaller; train.global_batch_size keeps the optimiser's batch.",
            ) from error
        except BaseException as error:
            with suppress(CbalignError):  # a full disk must not hide what happened
                training.end("failed", str(error) or type(error).__name__)
            raise
        training.end("finished", "", metrics)
        return Outcome(training.timetable.total_steps, metrics, time.monotonic() - started)


def _agreed_precision(setting: PrecisionSetting, run: Run, world: World) -> Precision:
    """One precision for all processes and for the whole run: what it began in, else bf16 where every device has it."""
    begun = world.share(Manifest.read(run.manifest).precision if world.is_main else None)
    if begun is not None:
        return begun
    chosen = choose_precision(setting, world.device)
    return "fp32" if world.any(chosen == "fp32") else "bf16"


class _Training(Generic[BatchT]):
    """The state of one `fit`."""

    def __init__(
        self,
        task: Task[BatchT],
        train: TrainSection,
        run: Run,
        world: World,
        reporter: Reporter,
        signals: StopSignals,
        stack: ExitStack,
    ) -> None:
        self.precision = _agreed_precision(train.precision, run, world)
        check_precision(world.device, self.precision)
        self.task, self.train, self.run, self.world = task, train, run, world
        self.reporter, self.signals, self.stack = reporter, signals, stack
        self.timetable = build_timetable(train, batches_per_epoch=task.batches_per_epoch, processes=world.size)
        self.schedule = build_schedule(
            train.schedule,
            peak_lr=train.optimizer.lr,
            steps_per_epoch=self.timetable.steps_per_epoch,
            total_steps=self.timetable.total_steps,
        )
        groups = task.parameter_groups(train.optimizer.weight_decay)
        self.forward = StepModule(task, world, groups, train.parallel)
        self.optimizer = build_adamw(self.forward.groups, train.optimizer)
        self.done = 0
        self.window = Window()
        self.busy = 0.0  # seconds spent in steps since the last log line
        self.timed = 0  # steps since then
        self.files: tuple[MetricsFile, TensorBoardFile] | None = None

    def resume(self) -> None:
        """Take up the newest checkpoint, if there is one, and cut the records to it."""
        checkpoint = self.world.share(latest_checkpoint(self.run.checkpoints))
        if checkpoint is not None:
            state = load_checkpoint(checkpoint, self.task.model, self.optimizer)
            self._check_same_length(state)
            self.done, self.window = state.step, Window(state.window)
        if self.world.is_main:
            metrics = MetricsFile(self.run.metrics, self.done)
            self.stack.callback(metrics.close)
            board = TensorBoardFile(self.run.tensorboard, self.done)
            self.stack.callback(board.close)
            self.files = (metrics, board)

    def _check_same_length(self, state: TrainingState) -> None:
        if state.step == 0:  # imported weights: no step was made yet
            return
        table = self.timetable
        pairs = [
            ("total steps", state.total_steps, table.total_steps),
            ("steps per epoch", state.steps_per_epoch, table.steps_per_epoch),
            ("pairs per step", state.global_batch_size, table.global_batch_size),
        ]
        changed = [f"{name} were {old}, now {new}" for name, old, new in pairs if old != new]
        if changed:
            raise UsageError(
                f"{self.run.folder} cannot go on: {'; '.join(changed)}.",
                remedy="The data or the number of processes changed since it began: restore them, or start a new run.",
            )

    def begin(self, argv: tuple[str, ...]) -> None:
        """Write down who works on the run, and show it."""
        if self.world.is_main:
            attempt = describe_attempt(
                from_step=self.done,
                argv=argv,
                device=self.world.device,
                precision=self.precision,
                processes=self.world.size,
            )
            Manifest.read(self.run.manifest).begin(attempt).write(self.run.manifest)
        total, warmup = self.timetable.total_steps, self.schedule.warmup_steps
        if warmup >= total > 0:
            self.reporter.note(
                f"train.schedule.warmup is {warmup} steps and the training {total}: "
                "the learning rate never reaches its peak"
            )
        if self.precision == "bf16" and not multiplies_bf16(self.world.device):
            self.reporter.note(
                "this processor only emulates bf16, which is slow; train.precision: auto takes fp32 here"
            )
        if self.done:
            self.reporter.note(f"going on after step {self.done} of {total}")

    def end(self, status: Status, message: str, metrics: Mapping[str, float] | None = None) -> None:
        """Write down how it ended."""
        if self.world.is_main:
            manifest = Manifest.read(self.run.manifest)
            manifest.end(status, step=self.done, message=message, metrics=metrics or {}).write(self.run.manifest)

    def complete(self, resume_command: str) -> Mapping[str, float]:
        """Make all steps that are left; return the metrics of the last evaluation."""
        self.task.model.train()
        self.reporter.start(self.timetable.total_steps, self.done)
        self.stack.callback(self.reporter.stop)
        metrics: Mapping[str, float] = {}
        try:
            if self.timetable.evaluates(self.done):  # a kill may have come between checkpoint and evaluation
                metrics = self._evaluation_so_far() or self._evaluate()
            batches = self._batches()
            while self.done < self.timetable.total_steps:
                self._stop_if_asked()
                self._step(batches)
                if self.timetable.checkpoints(self.done):
                    self._save()
                if self.timetable.evaluates(self.done):
                    metrics = self._evaluate()
        except StopNow:
            path = self._save()
            self.reporter.stop()
            raise Interrupted(
                f"Stopped by {self.signals.received or 'a signal to another process'} after step {self.done}"
                f" of {self.timetable.total_steps}; saved {path}.",
                remedy=f"Go on with: {resume_command}",
            ) from None
        if not self.run.checkpoints.joinpath(f"step-{self.done}").exists():
            self._save()
        return metrics

    def _stop_if_asked(self) -> None:
        if self.world.any(self.signals.received is not None):
            raise StopNow

    def _batches(self) -> Iterator[list[BatchT]]:
        """The micro-batches of each step that is left; what does not fill a step at an epoch's end is passed over."""
        table = self.timetable
        stream = self.task.batches(table.first_batch(self.done))
        self.stack.callback(getattr(stream, "close", lambda: None))
        left_over = table.batches_per_epoch - table.steps_per_epoch * table.micro_steps
        while True:
            yield [next(stream) for _ in range(table.micro_steps)]
            if table.epoch_ends(self.done):
                for _ in range(left_over):
                    next(stream)

    def _step(self, batches: Iterator[list[BatchT]]) -> None:
        """One optimiser step."""
        started = time.monotonic()
        batch = next(batches)
        rate = self.schedule(self.done)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        seed_step(self.train.seed, self.done, self.world.rank)
        progress = self._progress(logged=self.timetable.logs(self.done + 1))
        self.task.before_step(progress)
        outputs = [self._backward(micro_batch, replace(progress, micro_step=i)) for i, micro_batch in enumerate(batch)]
        self.forward.complete_gradients()
        parameters = [p for p in trained_parameters(self.optimizer) if p.grad is not None]
        norm = total_norm(parameters)
        self._check_finite(outputs, norm, batch)
        if self.train.clip_norm is not None:
            clip(parameters, self.train.clip_norm, norm)
        self.optimizer.step()
        self.task.after_step(progress)
        self.done += 1
        self.busy += time.monotonic() - started
        self.timed += 1
        self.reporter.advance(self.done)
        if self.timetable.logs(self.done):
            self._log(rate)

    def _progress(self, *, logged: bool = True) -> Progress:
        table = self.timetable
        return Progress(
            step=self.done,
            total_steps=table.total_steps,
            steps_per_epoch=table.steps_per_epoch,
            micro_steps=table.micro_steps,
            logged=logged,
        )

    def _backward(self, batch: BatchT, progress: Progress) -> StepOutput:
        last = progress.micro_step == progress.micro_steps - 1
        with nullcontext() if last else self.forward.without_synchronisation():
            with autocast(self.world.device, self.precision):
                output = self.forward(batch.to(self.world.device), progress)
            torch.autograd.backward(output.loss / progress.micro_steps)
        return output

    def _check_finite(self, outputs: list[StepOutput], norm: Tensor, batch: list[BatchT]) -> None:
        """Read the step's numbers from the device, once, and add them to the window if all are finite.

        Raises:
            DivergenceError: the loss or the gradient is not.
        """
        named = [(i, name, value) for i, output in enumerate(outputs) for name, value in _scalars(output)]
        device = self.world.device
        stacked = torch.stack([norm.float(), *(v.detach().float().reshape(()).to(device) for _, _, v in named)])
        gradient, *values = stacked.tolist()
        measured = [Measured(i, name, value) for (i, name, _), value in zip(named, values)]
        if self.world.any(any(m.is_bad_loss for m in measured) or not math.isfinite(gradient)):
            indices = [micro_batch.indices for micro_batch in batch]
            # DDP has spread a bad loss's gradient to all ranks; the one with the loss knows the samples.
            losses = [text for text in self.world.collect(explain_losses(measured, indices)) if text]
            raise self._diverged(losses[0] if losses else explain_gradient(self.task.model, indices))
        for i in range(len(outputs)):
            self.window.add({m.name: m.value for m in measured if m.micro_step == i})
        self.window.add({"gradient_norm": gradient})

    def _diverged(self, found: str) -> DivergenceError:
        newest = latest_checkpoint(self.run.checkpoints)
        kept = f"The checkpoint {newest} is intact." if newest else "There is no checkpoint yet."
        return DivergenceError(
            f"Training diverged in step {self.done + 1} of {self.timetable.total_steps}: {found}.\n"
            f"The step was not made. {kept}",
            remedy="Start again with a smaller train.optimizer.lr, a longer warm-up, or train.clip_norm=1; "
            "look at those samples if it happens at once.",
        )

    def _log(self, rate: float) -> None:
        means = self._reduced_window().means()
        samples = self.timed * self.timetable.global_batch_size
        values = {"loss": means.pop("loss"), "lr": rate, **means, "samples_per_second": samples / self.busy}
        self.window.clear()
        self.busy, self.timed = 0.0, 0
        self._write(Record("train", self.done, self._progress().epoch, values))

    def _reduced_window(self) -> Window:
        """The window averaged over ranks, so that all of them hold, and save, the same."""
        if self.world.size > 1:
            totals = self.window.totals()
            sums = torch.tensor([total for total, _ in totals.values()], device=self.world.device, dtype=torch.float64)
            self.window.replace(dict(zip(totals, self.world.mean(sums).tolist())))
        return self.window

    def _write(self, record: Record) -> None:
        if self.files is not None:
            for file in self.files:
                file.write(record)
        self.reporter.record(record)

    def _evaluation_so_far(self) -> Mapping[str, float]:
        """What was measured at this step before the process was killed."""
        return self.world.share(self.files[0].evaluation(self.done) if self.files is not None else {})

    def _evaluate(self) -> Mapping[str, float]:
        """Evaluate and log; in a single process, a signal breaks it off, because resuming does it again."""
        progress = self._progress()
        seed_step(self.train.seed, self.done, self.world.rank)
        self.task.model.eval()
        try:
            with torch.no_grad(), self.signals.immediate() if self.world.size == 1 else nullcontext():
                metrics = self.forward.evaluate(progress)
        finally:
            self.task.model.train()
        self._write(Record("evaluation", self.done, progress.epoch, metrics))
        return metrics

    def _save(self) -> Path:
        """Write a checkpoint of what is done."""
        window = self._reduced_window().totals()
        folder, table = self.run.checkpoints, self.timetable
        if self.files is not None:
            self.files[0].sync()
        state = TrainingState(
            step=self.done,
            total_steps=table.total_steps,
            steps_per_epoch=table.steps_per_epoch,
            global_batch_size=table.global_batch_size,
            samples_seen=self.done * table.global_batch_size,
            window=window,
        )
        keep, writes = self.train.keep_checkpoints, self.world.is_main
        path = save_checkpoint(folder, state, self.task.model, self.optimizer, keep=keep, writes=writes)
        self.world.barrier()
        return path


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's generators for one step of one process."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "big") >> 1)


def _scalars(output: StepOutput) -> Iterator[tuple[str, Tensor]]:
    yield "loss", output.loss
    for name, value in output.terms.items():
        yield f"loss/{name}", value
    yield from output.metrics.items()
