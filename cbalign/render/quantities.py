"""Numbers, sizes, times and values as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbalign.experiment.diff import SettingValue
    from cbalign.experiment.document import Data

ABSENT = "–"
WIDEST = 48
STATE_COLOURS = {"finished": "green", "running": "cyan", "diverged": "red", "failed": "red"}


def in_bytes(count: int) -> str:
    """`1.35 GiB`, `461.84 MiB`, `12 KiB`."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count / 2**10:.0f} KiB"


def ago(seconds: float) -> str:
    """`40 s`, `12 min`, `5 h`, `3 days`: a duration in one unit."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= (2 * size if unit == "days" else size):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def number(value: float | None) -> str:
    """A measured number with four digits; a dash if it is missing."""
    return ABSENT if value is None else f"{value:.4g}"


def shown(cell: SettingValue | None) -> str:
    """The value of a setting, or a dash if it is missing."""
    return ABSENT if cell is None else setting_value(cell.value)


def setting_value(data: Data) -> str:
    """A value as a spec writes it; sections and long texts are shortened."""
    if isinstance(data, str):
        text = data or "''"
    elif isinstance(data, float):
        text = exact(data)
    elif isinstance(data, list):
        text = f"[{', '.join(setting_value(item) for item in data)}]"
    elif isinstance(data, dict):
        text = f"{{{', '.join(f'{name}: {setting_value(item)}' for name, item in data.items())}}}"
    else:
        text = json.dumps(data)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def exact(amount: float) -> str:
    """A number that somebody wrote, with up to six digits; whole numbers without a point."""
    return str(int(amount)) if float(amount).is_integer() and abs(amount) < 1e15 else f"{amount:.6g}"
