"""A learning rate that falls in steps."""

from __future__ import annotations

from dataclasses import dataclass

from cbalign.parts.duration import in_steps
from cbalign_example.sections import StepsSection


@dataclass(frozen=True)
class Steps:
    """Implements `cbalign.engine.schedule.Schedule`: linear warm-up from 0, then a factor after every `every` steps."""

    peak: float
    warmup_steps: int
    every: int
    factor: float

    @classmethod
    def from_section(cls, section: StepsSection, peak: float, steps_per_epoch: int, total_steps: int) -> Steps:
        """Build the schedule of a training of `total_steps` steps."""
        warmup, every = (in_steps(each, steps_per_epoch, total_steps) for each in (section.warmup, section.every))
        return cls(peak, warmup, max(1, every), section.factor)

    def __call__(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * step / self.warmup_steps
        return self.peak * self.factor ** ((step - self.warmup_steps) // self.every)
