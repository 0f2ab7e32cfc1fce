"""A regression with dropout, a momentum teacher, a queue and tied weights: all the state a real task has.

As a program it trains in a run directory and kills itself at chosen moments: see `main`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from cbalign.engine.checkpoint_folder import list_checkpoints
from cbalign.engine.distribution import World
from cbalign.engine.loop import Outcome, fit
from cbalign.engine.reporter import Silent
from cbalign.engine.run import RunFolder, create_run
from cbalign.engine.task import ParameterGroup, Progress, StepOutput, no_decay_for_vectors
from cbalign.experiment.training import TrainSection

SAMPLES, WIDTH = 44, 6


def settings(**changes: object) -> TrainSection:
    """A training of 24 steps: 12 epochs of 2 global batches of 16, three micro-batches being left over."""
    values: dict[str, object] = {
        "duration": "12 epochs",
        "batch_size": 4,
        "global_batch_size": 16,
        "optimizer": {"lr": 0.02},
        "schedule": {"kind": "cosine", "warmup": "10 %", "warmup_lr": 0.0, "final_lr": 0.001},
        "clip_norm": 1.0,
        "precision": "fp32",
        "device": "cpu",
        "seed": 3,
        "log_every": "3 steps",
        "evaluate_every": "4 steps",
        "checkpoint_every": "5 steps",
    }
    return TrainSection.model_validate(values | changes)


@dataclass(frozen=True)
class TinyBatch:
    inputs: Tensor  # (B, WIDTH)
    targets: Tensor  # (B, WIDTH)
    indices: Tensor  # (B,)

    def to(self, device: torch.device) -> TinyBatch:
        return TinyBatch(self.inputs.to(device), self.targets.to(device), self.indices)


class TinyModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.last = nn.Linear(WIDTH, WIDTH)
        self.last.weight = self.first.weight
        self.dropout = nn.Dropout(0.2)
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.teacher = copy.deepcopy(self.first).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(10, WIDTH))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.dropout(self.first(inputs).tanh())) / self.temperature


class TinyTask:
    """Both `Learner` and `Training`."""

    def __init__(self, batch_size: int = 4, seed: int = 3) -> None:
        torch.manual_seed(seed)
        self.model = TinyModel()
        generator = torch.Generator().manual_seed(99)
        self.inputs = torch.randn(SAMPLES, WIDTH, generator=generator)
        self.targets = self.inputs.roll(1, dims=1)
        self.batch_size, self.seed = batch_size, seed
        self.hook: Callable[[str], None] = lambda event: None
        self.seen: list[list[int]] = []

    @property
    def batches_per_epoch(self) -> int:
        return SAMPLES // self.batch_size

    def prepare(self, note: Callable[[str], None]) -> None:
        pass

    def batches(self, start: int) -> Iterator[TinyBatch]:
        while True:
            epoch, within = divmod(start, self.batches_per_epoch)
            order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(self.seed + epoch))
            rows = order[within * self.batch_size : (within + 1) * self.batch_size]
            self.hook("batch")
            yield TinyBatch(self.inputs[rows], self.targets[rows], rows)
            start += 1

    @property
    def learner(self) -> Self:
        return self

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        return no_decay_for_vectors(self.model.parameters(), settings().optimizer.weight_decay)

    def before_step(self, progress: Progress) -> None:
        with torch.no_grad():
            self.model.teacher.weight.lerp_(self.model.first.weight, 0.1)

    def step(self, batch: TinyBatch, progress: Progress) -> StepOutput:
        self.hook("step")
        self.seen.append(batch.indices.tolist())
        model = self.model
        noisy = batch.inputs + 0.01 * torch.randn_like(batch.inputs)
        fit_loss = (model(noisy) - batch.targets).square().mean()
        follow = (model.first(noisy) - model.teacher(noisy) - model.queue.mean(dim=0)).square().mean()
        rows = (model.pointer + torch.arange(len(noisy))) % len(model.queue)
        model.queue[rows] = model.teacher(noisy).detach().float()
        model.pointer += len(noisy)
        metrics = {"largest": model.first.weight.abs().max().detach()} if progress.logged else {}
        return StepOutput(fit_loss + 0.1 * follow, {"fit": fit_loss, "follow": follow}, metrics)

    def after_step(self, progress: Progress) -> None:
        with torch.no_grad():
            self.model.temperature.clamp_(0.5, 2.0)

    def evaluate(self, progress: Progress) -> Mapping[str, float]:
        self.hook("evaluate")
        return {"validation/error": float((self.model(self.inputs) - self.targets).square().mean())}

    def describe(self) -> Mapping[str, object]:
        return {"parameters": sum(p.numel() for p in self.model.parameters())}

    def save_assets(self, folder: Path) -> None:
        (folder / "words.txt").write_text("tiny\n")


class WaveringTask(TinyTask):
    """Its metrics are best after step 8 of 24, which is not one of the regular checkpoints."""

    def evaluate(self, progress: Progress) -> Mapping[str, float]:
        wavering = float(progress.step**2 % 23)
        return {**super().evaluate(progress), "validation/wavering": wavering, "validation/mean_rank": 30 - wavering}


def new_run(runs: Path) -> RunFolder:
    return create_run(runs, "tiny", spec="name: tiny\n", resolved="name: tiny\n", fingerprint="0", facts={})


def train(run: RunFolder, task: TinyTask | None = None, section: TrainSection | None = None) -> Outcome:
    return fit(task or TinyTask(), section or settings(), run, World.single(), Silent())


def metrics_of(run: RunFolder) -> list[dict[str, object]]:
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for line in lines:
        line.pop("samples_per_second", None)
    return lines


def digest(run: RunFolder) -> str:
    """Everything that must not depend on interruptions, as a hash."""
    newest = run.latest_checkpoint()
    parts = [
        newest.name.encode(),
        (newest / "model.safetensors").read_bytes(),
        (newest / "state.json").read_bytes(),
        json.dumps(metrics_of(run)).encode(),
    ]
    if (run.checkpoints / "best").exists():
        best = run.checkpoints / (run.checkpoints / "best").read_text().strip()
        parts += [best.name.encode(), *((best / name).read_bytes() for name in ("model.safetensors", "state.json"))]
        parts += [" ".join(path.name for path in list_checkpoints(run.checkpoints)).encode()]
    moments = torch.load(newest / "optimizer.pt", weights_only=True)
    parts += [value.numpy().tobytes() for name in sorted(moments) for value in moments[name].values()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


class Killer:
    """Sends SIGKILL to this process at its `at`-th event: a batch, a step, an evaluation, a sync or a rename."""

    def __init__(self, at: int | None) -> None:
        self.at, self.count = at, 0

    def __call__(self, event: str = "") -> None:
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, task: TinyTask) -> None:
        task.hook = self
        for name in ("fsync", "rename", "replace", "unlink"):
            setattr(os, name, self._before(getattr(os, name)))

    def _before(self, call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object, **options: object) -> object:
            self()
            result = call(*arguments, **options)
            self()
            return result

        return wrapped


def attempt(run: RunFolder, at: int | None, keep_best: str | None) -> tuple[int, int]:
    """Train in a forked process that may kill itself; returns its wait status and its number of events."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        task, killer = WaveringTask(), Killer(at)
        killer.watch(task)
        train(run, task, settings(keep_best=keep_best))
        os.write(write, str(killer.count).encode())
        os._exit(0)
    os.close(write)
    _, status = os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        return status, int(pipe.read() or 0)


def main(runs: Path, tries: int, keep_best: str | None = None) -> None:
    """Print the digest of an undisturbed run, then those of `tries` runs that were killed again and again."""
    import torch._dynamo  # the optimiser imports it in its first step: better once, before the forks
    import torch.utils.tensorboard  # noqa: F401

    undisturbed = new_run(runs)
    status, events = attempt(undisturbed, None, keep_best)
    assert status == 0
    print(json.dumps({"kills": 0, "digest": digest(undisturbed)}))
    chance = random.Random(0)
    for _ in range(tries):
        run, kills = new_run(runs), 0
        while True:
            status, _ = attempt(run, chance.randint(1, events) if kills < 4 else None, keep_best)
            if status == 0:
                break
            assert os.WTERMSIG(status) == signal.SIGKILL, status
            kills += 1
        print(json.dumps({"kills": kills, "digest": digest(run)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
