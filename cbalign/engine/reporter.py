"""Progress of a training for people: a progress bar on a terminal, one line per log point elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cbalign.engine.tracker import Record


class Reporter(Protocol):
    """Displays the progress of a training."""

    def start(self, total_steps: int, done: int) -> None:
        """Handle the start of a training of `total_steps`, or its resumption after `done` of them."""

    def advance(self, done: int) -> None:
        """Handle the completion of a step; `done` steps are complete."""

    def record(self, record: Record) -> None:
        """Show a log line or an evaluation."""

    def note(self, text: str) -> None:
        """Show a message."""

    def stop(self) -> None:
        """Handle the end of the training, successful or not."""


class Silent:
    """A reporter that shows nothing: for all processes but the first, and for callers that want none."""

    def start(self, total_steps: int, done: int) -> None:
        """Ignore the start."""

    def advance(self, done: int) -> None:
        """Ignore the step."""

    def record(self, record: Record) -> None:
        """Ignore the record."""

    def note(self, text: str) -> None:
        """Ignore the message."""

    def stop(self) -> None:
        """Ignore the end."""


class _Clock:
    """Estimates the time left from the pace since the start, evaluations and checkpoints included."""

    def __init__(self, total_steps: int, done: int) -> None:
        self.total_steps = total_steps
        self._first, self._started = done, time.monotonic()

    def left(self, done: int) -> str:
        """`h:mm:ss` until the end."""
        if done <= self._first:
            return "-:--:--"
        pace = (time.monotonic() - self._started) / (done - self._first)
        return format_seconds(pace * (self.total_steps - done))


class Lines:
    """One plain line per log point and evaluation."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._clock = _Clock(0, 0)

    def start(self, total_steps: int, done: int) -> None:
        """Start the clock."""
        self._clock = _Clock(total_steps, done)

    def advance(self, done: int) -> None:
        """Ignore the step: only log points are printed."""

    def record(self, record: Record) -> None:
        """Print the line."""
        place = f"step {record.step}/{self._clock.total_steps}  epoch {record.epoch:.2f}"
        if record.kind == "train":
            self._print(f"{place}  {_summary(record)}  ETA {self._clock.left(record.step)}")
        else:
            self._print(f"{place}  {_evaluation(record)}")

    def note(self, text: str) -> None:
        """Print the line."""
        self._print(text)

    def stop(self) -> None:
        """Leave the printed lines as they are."""

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class Bar(Lines):
    """A progress bar with the remaining time; evaluations and notes are printed above it."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._progress = Progress(
            TextColumn("[progress.description]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA {task.fields[left]}"),
            TextColumn("{task.fields[summary]}"),
            console=console,
        )
        self._bar = self._progress.add_task("training", start=False, total=None, left="-:--:--", summary="")

    def start(self, total_steps: int, done: int) -> None:
        """Show the bar."""
        super().start(total_steps, done)
        self._progress.update(self._bar, total=total_steps, completed=done)
        self._progress.start_task(self._bar)
        self._progress.start()

    def advance(self, done: int) -> None:
        """Move the bar."""
        self._progress.update(self._bar, completed=done, left=self._clock.left(done))

    def record(self, record: Record) -> None:
        """Show a log point next to the bar, an evaluation above it."""
        if record.kind == "train":
            self._progress.update(self._bar, summary=_summary(record, terms=False))
        else:
            super().record(record)

    def stop(self) -> None:
        """Release the terminal and leave the bar as it is."""
        self._progress.stop()


def console_reporter(console: Console, *, interactive: bool) -> Reporter:
    """Return a progress bar for an interactive terminal, a line printer otherwise."""
    return Bar(console) if interactive else Lines(console)


def format_seconds(seconds: float) -> str:
    """`h:mm:ss`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _summary(record: Record, *, terms: bool = True) -> str:
    values = record.values
    shares = {name.removeprefix("loss/"): v for name, v in values.items() if name.startswith("loss/")}
    inside = f" ({', '.join(f'{name} {value:.3f}' for name, value in shares.items())})" if terms and shares else ""
    return f"loss {values['loss']:.4f}{inside}  lr {values['lr']:.2e}  {values['samples_per_second']:.0f}/s"


def _evaluation(record: Record) -> str:
    return "evaluation" + format_metrics(record.values)


def format_metrics(metrics: Mapping[str, float]) -> str:
    """A line for each group of metrics: `validation/dual` of `validation/dual/r1` and `validation/dual/r5`.

    Diagnostics are left out, which would be longer than all else; trackers and metrics.jsonl have them.
    """
    groups: dict[str, list[str]] = {}
    for metric, value in metrics.items():
        group, _, name = metric.rpartition("/")
        if group.endswith("/diagnostics"):
            continue
        groups.setdefault(group, []).append(f"{name} {value:.4g}")
    return "".join(f"\n  {group or 'all'}: {'  '.join(pairs)}" for group, pairs in groups.items())
