"""The search space of a sweep: grids, paired values, random draws and seeds."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from cbalign.errors import UsageError
from cbalign.experiment.shapes import Leaf
from cbalign.lab.runs.paths import settings_at

SEED = "train.seed"
MAX_TRAININGS = 10_000
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*(:\s*log)?\s*")
_PAIRS = {"[": "]", "{": "}", "(": ")"}

PathValue = tuple[str, str]  # a dotted path and a value, as `--set` takes them


@dataclass(frozen=True)
class Axis:
    """Values of one setting, as texts."""

    path: str
    values: tuple[str, ...]

    def draw(self, generator: random.Random) -> str:
        """Draw one of the values."""
        return generator.choice(self.values)


@dataclass(frozen=True)
class Range:
    """A range of a setting, uniform on a linear or logarithmic scale; both bounds are included."""

    path: str
    low: float
    high: float
    log: bool
    whole: bool

    def draw(self, generator: random.Random) -> str:
        """Draw a value with six significant digits, or a whole number if the setting needs one."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        drawn = generator.uniform(low, high)
        value = min(self.high, max(self.low, math.exp(drawn) if self.log else drawn))
        return str(round(value)) if self.whole else f"{value:.6g}"


def parse_axis(text: str) -> Axis | Range:
    """Parse `path=value,value,…` or `path=low..high`, with `:log` for a logarithmic scale.

    Commas inside brackets, braces and quotes belong to a value.

    Raises:
        UsageError: the text has another form, the setting is unknown, or the bounds are invalid.
    """
    path, equals, rest = text.partition("=")
    path = path.strip()
    if not equals or not path or not rest.strip():
        raise UsageError(f"{text!r} must have the form PATH=VALUE,VALUE or PATH=LOW..HIGH.")
    found = settings_at(path)
    if bounds := _RANGE.fullmatch(rest):
        low, high, log = float(bounds[1]), float(bounds[2]), bounds[3] is not None
        if not low < high:
            raise UsageError(f"{text!r}: {bounds[1]} is not less than {bounds[2]}.")
        if log and low <= 0:
            raise UsageError(f"{text!r}: a logarithmic scale needs bounds above 0.")
        shapes = [each.setting.shape for each in found]
        kinds = {kind for shape in shapes if isinstance(shape, Leaf) for kind in shape.kinds}
        if not kinds & {"number", "whole number"}:
            raise UsageError(f"{text!r}: `{path}` is not a number, so it cannot have a range.")
        whole = kinds == {"whole number"}
        if whole and not (low.is_integer() and high.is_integer()):
            raise UsageError(f"{text!r}: `{path}` must be a whole number.")
        return Range(path, low, high, log, whole)
    values = tuple(_split(rest))
    if any(not value for value in values):
        raise UsageError(f"{text!r} has an empty value between its commas.")
    return Axis(path, values)


def _split(text: str) -> Iterator[str]:
    """Split at the commas of the outermost level."""
    open_: list[str] = []
    start = 0
    for i, character in enumerate(text):
        if open_ and character == open_[-1]:
            open_.pop()
        elif open_ and open_[-1] in "'\"":
            continue
        elif character in "'\"":
            open_.append(character)
        elif character in _PAIRS:
            open_.append(_PAIRS[character])
        elif character == "," and not open_:
            yield text[start:i].strip()
            start = i + 1
    yield text[start:].strip()


def combinations(
    over: Sequence[Axis | Range],
    paired: Sequence[Axis | Range],
    *,
    draws: int | None,
    draw_seed: int,
    seeds: int | None,
) -> list[tuple[PathValue, ...]]:
    """Return the changes of every training, with the seed last.

    Args:
        over: settings whose values are combined with each other.
        paired: settings whose values are combined position by position.
        draws: number of random combinations; None uses all. More draws extend the same sequence.
        draw_seed: seed of the draws.
        seeds: number of seeds 0, 1, … per combination; None uses the spec's seed.

    Raises:
        UsageError: no setting is given, one is given twice, paired lists differ in length, or a range has no draws.
    """
    rows = _pairs(paired)
    paths = [axis.path for axis in (*over, *paired)] + ([SEED] if seeds is not None else [])
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise UsageError(f"`{twice[0]}` is given twice.", remedy="List all its values in one option.")
    if not paths:
        raise UsageError("No setting is given.", remedy="Use --over train.optimizer.lr=1e-4,3e-4 or --seeds 3.")
    _refuse_too_many(
        len(rows) * (seeds or 1) * (draws or math.prod(len(a.values) for a in over if isinstance(a, Axis)))
    )
    if draws is None:
        ranges = [axis for axis in over if isinstance(axis, Range)]
        if ranges:
            raise UsageError(
                f"`{ranges[0].path}` has a range, which needs random draws.",
                remedy="Use --random 20, or list values: 1e-4,3e-4.",
            )
        lists = [[(axis.path, value) for value in axis.values] for axis in over if isinstance(axis, Axis)]
        made = [(*chosen, *row) for chosen in product(*lists) for row in rows]
    else:
        if not over and not paired:
            raise UsageError("--random needs settings to draw.", remedy="Add settings with --over.")
        generator = random.Random(draw_seed)
        made = []
        for _ in range(draws):
            drawn = tuple((axis.path, axis.draw(generator)) for axis in over)
            made.append((*drawn, *generator.choice(rows)))
    seeded = [()] if seeds is None else [((SEED, str(seed)),) for seed in range(seeds)]
    return [(*changes, *seed) for changes in dict.fromkeys(made) for seed in seeded]


def _refuse_too_many(trainings: int) -> None:
    if trainings > MAX_TRAININGS:
        raise UsageError(
            f"The sweep has {trainings:,} trainings, more than {MAX_TRAININGS:,}.",
            remedy="Use fewer values or seeds, or draw some with --random.",
        )


def _pairs(paired: Sequence[Axis | Range]) -> list[tuple[PathValue, ...]]:
    """Return the rows of paired values; one empty row if there are none."""
    axes = [axis for axis in paired if isinstance(axis, Axis)]
    if len(axes) < len(paired):
        raise UsageError("--paired takes values, not ranges.")
    if len(axes) == 1:
        raise UsageError(
            f"--paired {axes[0].path} is the only paired setting.",
            remedy="Use --over, or pair it with a second setting.",
        )
    if len({len(axis.values) for axis in axes}) > 1:
        counts = ", ".join(f"{axis.path} has {len(axis.values)}" for axis in axes)
        raise UsageError(f"--paired settings need equally many values, but {counts}.")
    if not axes:
        return [()]
    return [tuple((axis.path, value) for axis, value in zip(axes, row)) for row in zip(*(a.values for a in axes))]
