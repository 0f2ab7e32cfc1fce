"""Facts that can be known from the picture of a scene: claims about figures are true, false or open.

Of a figure in the shade, shape, size and place are visible; it can have any colour and material. A claim is *true* of a
picture if it holds for all colours and materials of the shaded figures, *false* if it holds for none, and *open* if it
holds for some. Nothing else is hidden: the picture shows all figures, so that "there is no star" is known from it.

`judge` does not enumerate the cases: each claim counts the figures of one kind, and shaded figures are or are not of a
kind independently of one another, so the count can be any number between two bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cbalign.data.scenes.graph import HELD_OUT, Colour, Direction, Figure, FigureShape, Material, Scene, Size


class Truth(StrEnum):
    """The truth of a claim about a picture."""

    TRUE = "true"
    FALSE = "false"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class FigureKind:
    """Figures with these attributes; None permits any value."""

    shape: FigureShape | None = None
    colour: Colour | None = None
    material: Material | None = None
    size: Size | None = None

    @property
    def novel(self) -> bool:
        """Whether the combination of shape and colour is held out."""
        return (self.shape, self.colour) in HELD_OUT

    @property
    def seen_in_shade(self) -> bool:
        """Whether the kind of a figure in the shade is visible."""
        return self.colour is None and self.material is None

    def fits(self, figure: Figure) -> Truth:
        """Decide whether a figure is of this kind, as far as is visible."""
        if self.shape not in (None, figure.shape) or self.size not in (None, figure.size):
            return Truth.FALSE
        if self.seen_in_shade:
            return Truth.TRUE
        if figure.shaded:
            return Truth.OPEN
        same = self.colour in (None, figure.colour) and self.material in (None, figure.material)
        return Truth.TRUE if same else Truth.FALSE


@dataclass(frozen=True, slots=True)
class Count:
    """A number of figures from `least` to `most`."""

    least: int
    most: int | float


SOME = Count(1, math.inf)
NONE = Count(0, 0)


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the picture: in a direction from the only figure of a kind that is visible in the shade."""

    direction: Direction
    anchor: FigureKind


@dataclass(frozen=True, slots=True)
class HowMany:
    """The claim that there are `count` figures of `kind` in the picture, or in a part of it."""

    kind: FigureKind
    count: Count
    region: Region | None = None


@dataclass(frozen=True, slots=True)
class Each:
    """The claim that the only figure of kind `of`, or each of several, is of `kind`; `of` is visible in the shade."""

    of: FigureKind
    kind: FigureKind
    several: bool


Claim = HowMany | Each


def form(claim: Claim) -> str:
    """Name the form of a claim in one word."""
    match claim:
        case Each(several=several):
            return "every" if several else "the"
        case HowMany(region=Region()):
            return "relation"
        case HowMany(count=count):
            return "no" if count == NONE else "some" if count == SOME else "number"


def bounds(figures: Sequence[Figure], kind: FigureKind) -> tuple[int, int]:
    """Return the least and greatest possible number of figures of a kind; all numbers between are possible."""
    truths = [kind.fits(figure) for figure in figures]
    sure = truths.count(Truth.TRUE)
    return sure, sure + truths.count(Truth.OPEN)


def matching(figures: Sequence[Figure], kind: FigureKind) -> list[Figure]:
    """Return the figures that are certainly of a kind."""
    return [figure for figure in figures if kind.fits(figure) is Truth.TRUE]


def only(figures: Sequence[Figure], kind: FigureKind) -> Figure | None:
    """Return the figure that "the red star" refers to: the only one of its kind, if that is certain."""
    return matching(figures, kind)[0] if bounds(figures, kind) == (1, 1) else None


def judge(claim: Claim, scene: Scene) -> Truth | None:
    """Judge a claim about the picture of a scene; None if it refers to "the star" and there is not exactly one."""
    match claim:
        case HowMany(kind, count, region):
            figures: Sequence[Figure] = scene.figures
            if region is not None:
                anchor = only(figures, region.anchor)
                if anchor is None:
                    return None
                figures = [figure for figure in figures if figure.lies(region.direction, anchor)]
            return _within(bounds(figures, kind), count)
        case Each(of, kind, several):
            figures = matching(scene.figures, of)
            if (len(figures) < 2) if several else (len(figures) != 1):
                return None
            return _within(bounds(figures, kind), Count(len(figures), len(figures)))


def _within(bounds: tuple[int, int], count: Count) -> Truth:
    least, most = bounds
    if count.least <= least and most <= count.most:
        return Truth.TRUE
    return Truth.FALSE if most < count.least or count.most < least else Truth.OPEN
