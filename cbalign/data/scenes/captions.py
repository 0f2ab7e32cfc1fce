"""Captions of scenes, with several sentence forms; half describe the whole scene, half a part of it.

People leave things out, and complete captions alone are too easy: a masked word can be guessed by elimination, and
shapes and colours identify a picture without sizes or materials.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

from cbalign.data.scenes.draws import Draws
from cbalign.data.scenes.facts import FigureKind, Truth, judge
from cbalign.data.scenes.graph import DIRECTIONS, Figure, Scene, scene_of
from cbalign.data.scenes.language import NUMBERS, direction, figure, in_passing, listing, number_of, sentence
from cbalign.data.scenes.proposals import propose_claim
from cbalign.data.sections.drawings import ScenesSplit

CAPTIONS = 3
"""Number of captions of a scene."""

_OPENINGS = ("", "", "", "there is ", "a picture of ", "we see ", "a drawing with ", "here is ")
_KEPT = 2**16  # scenes; a training reads all captions before it starts
_TOGETHER = ", and "
_CLAIMS = 3  # with so many a caption fits few other scenes


@lru_cache(maxsize=_KEPT)
def captions_of(split: ScenesSplit, index: int, seed: int = 0) -> tuple[str, ...]:
    """Write the captions of scene `index` of a split."""
    draws = Draws(seed, split, "captions", index)
    scene = scene_of(split, index, seed)
    return tuple(caption(scene, draws, split) for _ in range(CAPTIONS))


def caption(scene: Scene, draws: Draws, split: ScenesSplit) -> str:
    """Write one caption, true of what is visible."""
    return complete(scene, draws) if draws.chance(0.5) else partial(scene, draws, split)


def partial(scene: Scene, draws: Draws, split: ScenesSplit) -> str:
    """Write a caption of the position of two figures, of some facts, of both, or of counts by an attribute."""
    first, second, *_ = draws.shuffled(scene.figures)
    form = draws.below(5)
    if form == 0:
        return _TOGETHER.join(_facts(scene, draws, split, _CLAIMS))
    if form == 4:
        return _tally(scene, draws)
    lie = _how_they_lie(first, second, draws, _more_or_less)
    return lie if form < 3 else _TOGETHER.join((lie, *_facts(scene, draws, split, 1)))


def complete(scene: Scene, draws: Draws) -> str:
    """Write a caption that names all figures, each with its shape and, unless it is in the shade, its colour."""
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
    """List the figures from left to right or top to bottom if no two share a column or row."""
    for words, axis in (("from left to right", "x"), ("from top to bottom", "y")):
        ordered = sorted(figures, key=lambda seen: getattr(seen, axis))
        direction = DIRECTIONS[0] if axis == "x" else DIRECTIONS[2]
        if all(first.lies(direction, second) for first, second in pairwise(ordered)):
            return f"{words}: {_list(ordered, draws)}"
    return None


def _relation(figures: list[Figure], draws: Draws) -> str:
    """Describe the position of the first two figures, and list the others."""
    first, second, *rest = figures
    text = _how_they_lie(first, second, draws)
    if not rest:
        return text
    return f"{text}, {draws.choose(('and', 'with', 'plus'))} {_list(rest, draws)}"


def _how_they_lie(first: Figure, second: Figure, draws: Draws, name: Callable[[Figure, Draws], str] = figure) -> str:
    ways = [way for way in DIRECTIONS if first.lies(way, second)]
    return f"{name(first, draws)} {direction(draws.choose(ways), draws)} {name(second, draws)}"


def _more_or_less(seen: Figure, draws: Draws) -> str:
    return in_passing(seen, draws) if draws.chance(0.5) else figure(seen, draws)


def _tally(scene: Scene, draws: Draws) -> str:
    """Count the figures of each shape, size, colour or material."""
    every = ("shape", "size", "colour", "material")
    seen = every[:2] if any(figure.shaded for figure in scene.figures) else every
    name = draws.choose(seen)
    counts = Counter(getattr(figure, name) for figure in draws.shuffled(scene.figures))
    return listing([number_of(count, FigureKind(**{name: value}), draws) for value, count in counts.items()], draws)


def _facts(scene: Scene, draws: Draws, split: ScenesSplit, count: int) -> list[str]:
    """Write sentences that are true of the picture, in the forms of hypotheses."""
    said: list[str] = []
    while len(said) < count:
        claim = propose_claim((scene,), draws, split)
        if judge(claim, scene) is Truth.TRUE:
            text = sentence(claim, draws)
            said += [text] if text not in said else []
    return said
