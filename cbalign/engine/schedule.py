"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from cbalign.engine.sections.schedules import ConstantSection, CosineSection
from cbalign.parts import ScheduleSection
from cbalign.parts.duration import in_steps
from cbalign.parts.results import require_built, require_type

WARMUP_INTERVAL = 100  # steps between two rates of the warm-up in ALBEF's code (`step_size`)


class Schedule(Protocol):
    """Learning rates over a training."""

    @property
    def warmup_steps(self) -> int:
        """Steps before the peak."""

    def __call__(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""


def build_schedule(section: ScheduleSection, peak: float, steps_per_epoch: int, total_steps: int) -> Schedule:
    """Build the schedule of a training of `total_steps` steps.

    Raises:
        PartError: it cannot be built, or does not return numbers.
    """
    schedule: Schedule = section.build(peak, steps_per_epoch, total_steps)
    require_built(section, schedule, ("__call__", "warmup_steps"))
    require_type(schedule, "", schedule(0), (float, int))
    return schedule


@dataclass(frozen=True)
class Constant:
    """Linear warm-up from `warmup_lr` to `peak_lr` at step `warmup_steps`, then constant."""

    peak_lr: float
    warmup_lr: float
    warmup_steps: int

    @classmethod
    def from_section(cls, section: ConstantSection, peak_lr: float, steps_per_epoch: int, total_steps: int) -> Constant:
        """The schedule of a training of `total_steps` steps."""
        return cls(peak_lr, section.warmup_lr, in_steps(section.warmup, steps_per_epoch, total_steps))

    def __call__(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        if step >= self.warmup_steps:
            return self.peak_lr
        return _between(self.warmup_lr, self.peak_lr, step / self.warmup_steps)


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up, then cosine decay that reaches `final_lr` in the last step:

    lr(s) = final + (peak − final) · (1 + cos(π (s − warmup) / (total − 1 − warmup))) / 2.
    """

    peak_lr: float
    warmup_lr: float
    final_lr: float
    warmup_steps: int
    total_steps: int

    @classmethod
    def from_section(
        cls, section: CosineSection, peak_lr: float, steps_per_epoch: int, total_steps: int
    ) -> Cosine | EpochCosine:
        """The schedule of a training of `total_steps` steps."""
        warmup = in_steps(section.warmup, steps_per_epoch, total_steps)
        rates = (peak_lr, section.warmup_lr, section.final_lr)
        if section.updates == "epoch":
            return EpochCosine(*rates, warmup, steps_per_epoch, total_steps)
        return cls(*rates, warmup, total_steps)

    def __call__(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        if step < self.warmup_steps:
            return Constant(self.peak_lr, self.warmup_lr, self.warmup_steps)(step)
        length = self.total_steps - 1 - self.warmup_steps
        done = min(1.0, (step - self.warmup_steps) / length) if length > 0 else 0.0
        return _between(self.final_lr, self.peak_lr, (1 + math.cos(math.pi * done)) / 2)


@dataclass(frozen=True)
class EpochCosine:
    """ALBEF's schedule (its scheduler/cosine_lr.py, called as in Pretrain.py), equal to the last bit.

    In epoch e of E, the rate is constant but for the warm-up, which the second epoch ends at the latest:

    lr(e) = final + (peak − final) · (1 + cos(π e / E)) / 2.

    The warm-up rises by equal amounts every 100 steps. As the scheduler runs after the optimiser, steps 0 to 100 have
    `warmup_lr`, steps 101 to 200 the next rate, and step `warmup_steps` + 1 is the first with the peak.
    """

    peak_lr: float
    warmup_lr: float
    final_lr: float
    warmup_steps: int
    steps_per_epoch: int
    total_steps: int

    def __call__(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        if step >= self.steps_per_epoch or step > self.warmup_steps:
            return self._decayed(step // self.steps_per_epoch)
        if self.warmup_steps == 0:
            return self.peak_lr
        rise = (self.peak_lr - self.warmup_lr) / (self.warmup_steps / WARMUP_INTERVAL)
        return self.warmup_lr + max(0, step - 1) // WARMUP_INTERVAL * rise

    def _decayed(self, epoch: int) -> float:
        epochs = self.total_steps / self.steps_per_epoch
        # The order of operations is ALBEF's: another one rounds differently.
        return self.final_lr + 0.5 * (self.peak_lr - self.final_lr) * (1 + math.cos(math.pi * epoch / epochs))


def _between(first: float, last: float, share: float) -> float:
    """The rate `share` of the way from `first` to `last`: exactly `first` at 0 and `last` at 1."""
    return (1 - share) * first + share * last


def explain_warmup(schedule: Schedule, total_steps: int) -> str:
    """Return a warning if a training of `total_steps` steps ends before the peak, else an empty text."""
    warmup = schedule.warmup_steps
    if not warmup >= total_steps > 0:
        return ""
    return (
        f"train.schedule.warmup is {warmup} steps and the training {total_steps}: "
        "the learning rate never reaches its peak"
    )
