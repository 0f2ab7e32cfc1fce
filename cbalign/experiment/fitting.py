"""Which weights of one model have a place in another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cbalign.experiment.shapes import TEACHER, Shape, Shapes

# What people call the tensors whose names begin so; the teacher's parts are those of the student.
_PARTS = {
    "vision.": "image tower",
    "text.": "text tower",
    "fusion.": "fusion layers",
    "image_projection.": "projections",
    "text_projection.": "projections",
    "image_queue.": "queues, which refill by themselves",
    "text_queue.": "queues, which refill by themselves",
    "objectives.codebook.": "codebook",
    "objectives.matching.": "match head",
    "objectives.masked_language.": "masked-language head",
    "temperature.": "temperature",
}


@dataclass(frozen=True)
class Misfit:
    """A tensor of A or B that stays behind or starts anew; `None` is the side that lacks it."""

    name: str
    before: Shape | None
    after: Shape | None

    @property
    def kind(self) -> Literal["reshaped", "only in A", "only in B"]:
        """Why it does not load."""
        if self.after is None:
            return "only in A"
        return "only in B" if self.before is None else "reshaped"

    @property
    def part(self) -> str:
        """The part of the model that it is of."""
        own = self.name.removeprefix("student.").removeprefix(f"{TEACHER}network.")
        named = next((part for prefix, part in _PARTS.items() if own.startswith(prefix)), None)
        return named or self.name.removeprefix("objectives.").partition(".")[0]

    def __str__(self) -> str:
        if self.before is not None and self.after is not None:
            return f"{self.name} {_sizes(self.before)} → {_sizes(self.after)}"
        return f"{self.name} {_sizes(self.before or self.after or ())}"


def misfits(before: Shapes, after: Shapes) -> list[Misfit]:
    """The tensors of two models that do not correspond, in the order of their models."""
    names = dict.fromkeys((*after, *before))
    return [Misfit(n, before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)]


def summarise(found: list[Misfit]) -> str:
    """A few words for each part: `the codebook (2 reshaped, first codebook.prototypes 256×256 → 128×256)`."""
    parts: dict[str, list[Misfit]] = {}
    for misfit in found:
        parts.setdefault(misfit.part, []).append(misfit)
    return "; ".join(f"the {part} ({', '.join(_counts(of_part))})" for part, of_part in parts.items())


def _counts(of_part: list[Misfit]) -> Iterator[str]:
    for kind in dict.fromkeys(misfit.kind for misfit in of_part):
        same = [misfit for misfit in of_part if misfit.kind == kind]
        yield f"{len(same)} {kind}, {'first ' * (len(same) > 1)}{same[0]}"


def _sizes(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "scalar"
