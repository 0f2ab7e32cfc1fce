"""Progress of a training that a program started: what is shown, and the calls of its function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbalign.api.runs import StepCallback
    from cbalign.engine.reporter import Reporter
    from cbalign.engine.tracker import Record


def reporter_of(progress: bool | Reporter, on_step: StepCallback | None) -> Reporter:
    """Return the reporter of a training.

    Args:
        progress: whether to show a progress bar in a terminal or notebook, and lines elsewhere; or a reporter.
        on_step: called with each log line and evaluation.
    """
    from rich.console import Console

    from cbalign.engine.reporter import Silent, console_reporter

    console = Console(stderr=True)
    shown: Reporter = Silent()
    if progress is True:
        shown = console_reporter(console, interactive=console.is_terminal or console.is_jupyter)
    elif progress:
        shown = progress
    return shown if on_step is None else _CallingReporter(shown, on_step)


class _CallingReporter:
    """A reporter that also calls a function with every record."""

    def __init__(self, shown: Reporter, on_step: StepCallback) -> None:
        self._on_step = on_step
        self.start, self.advance, self.note, self.stop = shown.start, shown.advance, shown.note, shown.stop
        self._show = shown.record

    def record(self, record: Record) -> None:
        """Show the record and call the function."""
        self._show(record)
        self._on_step(as_line(record))


def as_line(record: Record) -> dict[str, Any]:
    """Return a log line or an evaluation as `StepCallback` takes it."""
    return {"kind": record.kind, "step": record.step, "epoch": record.epoch, **record.values}
