"""Draw a learning-rate schedule as lines of text."""

from __future__ import annotations

from cbalign.engine.schedule import Schedule

_BLOCKS = " ▁▂▃▄▅▆▇█"


def draw_schedule(schedule: Schedule, total_steps: int, *, width: int = 60, height: int = 6) -> list[str]:
    """Draw the learning rate over the training; the first and last line are labelled with their values.

    Args:
        schedule: the rate of each step.
        total_steps: length of the training.
        width: columns of the curve.
        height: lines of the curve.
    """
    columns = min(width, max(1, total_steps))
    rates = [schedule(round(i * (total_steps - 1) / max(1, columns - 1))) for i in range(columns)]
    peak = max(max(rates), schedule(min(schedule.warmup_steps, max(0, total_steps - 1)))) or 1.0
    lines = []
    for row in range(height, 0, -1):
        cells = "".join(_BLOCKS[min(8, max(0, round((rate / peak * height - row + 1) * 8)))] for rate in rates)
        label = f"{peak:.1e}" if row == height else f"{0:.0e}" if row == 1 else ""
        lines.append(f"{label:>8} {cells.rstrip()}".rstrip())
    return [*lines, f"{'':>8} 0{f'step {total_steps:,}':>{columns - 1}}"]
