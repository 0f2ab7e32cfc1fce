"""What can be known from the picture of a scene: claims about figures, judged true, false or open.

The reader sees of a figure in the shade its shape, size and place, and nothing of its colour and material. It may have
any of them. A claim is *true* of a picture if it holds however the shaded figures are coloured and made, *false* if it
holds in no such case, and *open* if it holds in some and not in others. Nothing else is hidden: the picture shows all
figures there are, so "there is no star" can be read off it.

`judge` finds the verdict without going through the cases: in each claim one kind is counted, and a shaded figure is or
is not of a kind independently of the others, so the count takes every value between two bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cbalign.data.scenes.graph import HELD_OUT, Colour, Direction, Figure, Material, Scene, Shape, Size


class Verdict(StrEnum):
    """Of a claim about a picture."""

    TRUE = "true"
    FALSE = "false"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Kind:
    """Figures with these attributes; None leaves one free."""

    shape: Shape | None = None
    colour: Colour | None = None
    material: Material | None = None
    size: Size | None = None

    @property
    def novel(self) -> bool:
        """Whether no figure of the training is of this kind."""
        return (self.shape, self.colour) in HELD_OUT

    @property
    def seen_in_shade(self) -> bool:
        """Whether it can always be seen if a figure is of this kind."""
        return self.colour is None and self.material is None

    def fits(self, figure: Figure) -> Verdict:
        """Whether a figure is of this kind, as far as can be seen."""
        if self.shape not in (None, figure.shape) or self.size not in (None, figure.size):
            return Verdict.FALSE
        if self.seen_in_shade:
            return Verdict.TRUE
        if figure.shaded:
            return Verdict.OPEN
        same = self.colour in (None, figure.colour) and self.material in (None, figure.material)
        return Verdict.TRUE if same else Verdict.FALSE


@dataclass(frozen=True, slots=True)
class Count:
    """At least `least` and at most `most` figures."""

    least: int
    most: int | float


SOME = Count(1, math.inf)
NONE = Count(0, 0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look: in a direction from the only figure of a kind that is seen in the shade."""

    direction: Direction
    anchor: Kind


@dataclass(frozen=True, slots=True)
class HowMany:
    """There are `count` figures of `kind`, in the picture or at a place in it."""

    kind: Kind
    count: Count
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Each:
    """The only figure of kind `of` (or every one of several) is of `kind`, too; `of` is seen in the shade."""

    of: Kind
    kind: Kind
    several: bool


Claim = HowMany | Each


def form(claim: Claim) -> str:
    """What sort of sentence a claim is: one word."""
    match claim:
        case Each(several=several):
            return "every" if several else "the"
        case HowMany(place=Place()):
            return "relation"
        case HowMany(count=count):
            return "no" if count == NONE else "some" if count == SOME else "number"


def bounds(figures: Sequence[Figure], kind: Kind) -> tuple[int, int]:
    """The least and the greatest number of figures of a kind that can be there; every number between can, too."""
    verdicts = [kind.fits(figure) for figure in figures]
    sure = verdicts.count(Verdict.TRUE)
    return sure, sure + verdicts.count(Verdict.OPEN)


def matching(figures: Sequence[Figure], kind: Kind) -> list[Figure]:
    """The figures that surely are of a kind."""
    return [figure for figure in figures if kind.fits(figure) is Verdict.TRUE]


def only(figures: Sequence[Figure], kind: Kind) -> Figure | None:
    """The figure that "the red star" means: the one of its kind, if it is sure that there is exactly one."""
    return matching(figures, kind)[0] if bounds(figures, kind) == (1, 1) else None


def judge(claim: Claim, scene: Scene) -> Verdict | None:
    """What the picture of a scene says of a claim; None if it speaks of "the star" and there is none, or several."""
    match claim:
        case HowMany(kind, count, place):
            figures: Sequence[Figure] = scene.figures
            if place is not None:
                anchor = only(figures, place.anchor)
                if anchor is None:
                    return None
                figures = [figure for figure in figures if figure.lies(place.direction, anchor)]
            return _within(bounds(figures, kind), count)
        case Each(of, kind, several):
            figures = matching(scene.figures, of)
            if (len(figures) < 2) if several else (len(figures) != 1):
                return None
            return _within(bounds(figures, kind), Count(len(figures), len(figures)))


def _within(bounds: tuple[int, int], count: Count) -> Verdict:
    least, most = bounds
    if count.least <= least and most <= count.most:
        return Verdict.TRUE
    return Verdict.FALSE if most < count.least or count.most < least else Verdict.OPEN
