"""Captions: every figure of a scene in words, in one of several kinds of sentence."""

from __future__ import annotations

from itertools import pairwise

from cbalign.data.scenes.draws import Draws
from cbalign.data.scenes.graph import DIRECTIONS, Figure, Scene
from cbalign.data.scenes.language import NUMBERS, direction, figure, listing

_OPENINGS = ("", "", "", "there is ", "a picture of ", "we see ", "a drawing with ", "here is ")


def caption(scene: Scene, draws: Draws) -> str:
    """One caption. It names all figures, each with its shape and, unless it is in the shade, its colour."""
    figures = draws.shuffled(scene.figures)
    form = draws.below(4)
    if form == 0:
        return f"{draws.choose(_OPENINGS)}{_list(figures, draws)}"
    if form == 1:
        number = f"{draws.choose(('', '', 'exactly '))}{NUMBERS[len(figures)]}"
        return f"{number} {draws.choose(('shapes', 'figures', 'objects'))}: {_list(figures, draws)}"
    if form == 2 and (ordered := _in_line(figures, draws)):
        return ordered
    return _relation(figures, draws)


def _list(figures: list[Figure], draws: Draws) -> str:
    return listing([figure(seen, draws) for seen in figures], draws)


def _in_line(figures: list[Figure], draws: Draws) -> str | None:
    """The figures in order across or down, where no two are in one column or row."""
    for words, axis in (("from left to right", "x"), ("from top to bottom", "y")):
        ordered = sorted(figures, key=lambda seen: getattr(seen, axis))
        direction = DIRECTIONS[0] if axis == "x" else DIRECTIONS[2]
        if all(first.lies(direction, second) for first, second in pairwise(ordered)):
            return f"{words}: {_list(ordered, draws)}"
    return None


def _relation(figures: list[Figure], draws: Draws) -> str:
    """How the first two lie, and what else there is."""
    first, second, *rest = figures
    ways = [way for way in DIRECTIONS if first.lies(way, second)]
    text = f"{figure(first, draws)} {direction(draws.choose(ways), draws)} {figure(second, draws)}"
    if not rest:
        return text
    return f"{text}, {draws.choose(('and', 'with', 'plus'))} {_list(rest, draws)}"
