"""Questions about a scene, each with one correct answer from a closed list.

Half of the yes/no questions have the answer yes. Nothing is asked that the shade leaves open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Literal

from cbalign.data.scenes.draws import Draws
from cbalign.data.scenes.facts import SOME, FigureKind, HowMany, Truth, bounds, judge, only
from cbalign.data.scenes.graph import (
    COLOURS,
    DIRECTIONS,
    MATERIALS,
    MOST_FIGURES,
    SHAPES,
    SIZES,
    Figure,
    Scene,
    scene_of,
)
from cbalign.data.scenes.language import a, direction, noun
from cbalign.data.scenes.proposals import propose_kind
from cbalign.data.sections.drawings import ScenesSplit

Topic = Literal["colour", "shape", "material", "size", "count", "existence", "relation", "neighbour", "comparison"]

ANSWERS: tuple[str, ...] = (
    "yes", "no", *COLOURS, *SHAPES, *MATERIALS, *SIZES, *(str(count) for count in range(MOST_FIGURES + 1)),
)  # fmt: skip
"""The closed list of answers."""

QUESTIONS = 4
"""Number of questions about a scene."""

_TRIES = 16
_KEPT = 2**16  # scenes; training reads the questions of a scene one by one, in random order


@dataclass(frozen=True)
class GeneratedQuestion:
    """A question, its answer and its topic."""

    text: str
    answer: str
    topic: Topic


@lru_cache(maxsize=_KEPT)
def questions_of(split: ScenesSplit, index: int, seed: int = 0) -> tuple[GeneratedQuestion, ...]:
    """Ask the questions about scene `index` of a split, no two in the same words."""
    draws = Draws(seed, split, "questions", index)
    scene = scene_of(split, index, seed)
    asked: dict[str, GeneratedQuestion] = {}
    while len(asked) < QUESTIONS:
        question = ask(scene, draws, split)
        asked.setdefault(question.text, question)
    return tuple(asked.values())


def ask(scene: Scene, draws: Draws, split: ScenesSplit) -> GeneratedQuestion:
    """Ask one question; all topics that the scene allows are about equally likely."""
    while True:
        form = draws.choose(_FORMS)
        for _ in range(_TRIES):
            if question := form(scene, draws, split):
                return question


def _colour(scene: Scene, draws: Draws, split: ScenesSplit) -> GeneratedQuestion | None:
    figure, kind = _named(scene, draws, without="colour")
    if kind is None or figure.shaded:
        return None
    return GeneratedQuestion(f"what colour {_is_or_has(kind, draws)}?", figure.colour, "colour")


def _is_or_has(kind: FigureKind, draws: Draws) -> str:
    name = noun(kind, draws)
    return f"is the {name}" if draws.chance(0.6) else f"does the {name} have"


def _shape(scene: Scene, draws: Draws, split: ScenesSplit) -> GeneratedQuestion | None:
    figure, kind = _named(scene, draws, without="shape")
    if kind is None:
        return None
    return GeneratedQuestion(
        f"what {draws.choose(('shape', 'kind of shape'))} is the {noun(kind, draws)}?", figure.shape, "shape"
    )


def _material(scene: Scene, draws: Draws, split: ScenesSplit) -> GeneratedQuestion | None:
    figure, kind = _named(scene, draws, without="material")
    if kind is None or figure.shaded:
        return None
    return GeneratedQuestion(f"is the {noun(kind, draws)} filled, outlined or striped?", figure.material, "material")


def _size(scene: Scene, draws: Draws, split: ScenesSplit) -> GeneratedQuestion | None:
    figure, kind = _named(scene, draws, without="size")
    if kind is None:
        return None
    return GeneratedQuestion(f"is the {noun(kind, draws)} small or large?", figure.size, "size")


def _count(scene: Scene, draws: Draws, split: ScenesSplit) -> GeneratedQuestion | None:
    """Ask for the number of a kind, from one kind for each count that occurs: all counts are equally likely."""
    counted: dict[int, FigureKind] = {}
    for _ in range(_TRIES):
        kind = _countable(scene, draws, split)
        least, most = bounds(scene.figures, kind)
        if least == most:
            counted[least] = kind
    if not counted:
        return None
    count = draws.choose(sorted(counted))
    return GeneratedQuestion(f"how many {noun(counted[count], draws, plural=True)} are there?", str(count), "count")


def _existence(scene: Scene, draws: Draws, split: ScenesSplit) -> GeneratedQuestion | None:
    wanted = draws.chance(0.5)
    for _ in range(_TRIES):
        kind = propose_kind(draws.choose(scene.figures), draws, split)
        if judge(HowMany(kind, SOME), scene) is (Truth.TRUE if wanted else Truth.FALSE):
            return GeneratedQuestion(f"is there {a(noun(kind, draws))}?", _yes(wanted), "existence")
    return None


def _relation(scene: Scene, draws: Draws, split: ScenesSplit) -> GeneratedQuestion | None:
    (first, kind), (second, other) = _named(scene, draws), _named(scene, draws)
    if kind is None or other is None or first is second:
        return None
    way = draws.choose(DIRECTIONS)
    holds = first.lies(way, second)
    if not holds and not second.lies(way, first):
        return None
    text = f"is the {noun(kind, draws)} {direction(way, draws)} the {noun(other, draws)}?"
    return GeneratedQuestion(text, _yes(holds), "relation")


def _neighbour(scene: Scene, draws: Draws, split: ScenesSplit) -> GeneratedQuestion | None:
    figure, kind = _named(scene, draws)
    way = draws.choose(DIRECTIONS)
    there = [other for other in scene.figures if other.lies(way, figure)]
    if kind is None or len(there) != 1:
        return None
    return GeneratedQuestion(
        f"what shape is {direction(way, draws)} the {noun(kind, draws)}?", there[0].shape, "neighbour"
    )


def _comparison(scene: Scene, draws: Draws, split: ScenesSplit) -> GeneratedQuestion | None:
    wanted = draws.chance(0.5)
    for _ in range(_TRIES):
        kind, other = _countable(scene, draws, split), _countable(scene, draws, split)
        (least, most), (other_least, other_most) = bounds(scene.figures, kind), bounds(scene.figures, other)
        if kind != other and (least > other_most if wanted else most <= other_least):
            text = f"are there more {noun(kind, draws, plural=True)} than {noun(other, draws, plural=True)}?"
            return GeneratedQuestion(text, _yes(wanted), "comparison")
    return None


def _countable(scene: Scene, draws: Draws, split: ScenesSplit) -> FigureKind:
    return replace(propose_kind(draws.choose(scene.figures), draws, split), material=None)


_FORMS: tuple[Callable[[Scene, Draws, ScenesSplit], GeneratedQuestion | None], ...] = (
    _colour, _shape, _material, _size, _count, _existence, _relation, _neighbour, _comparison,
)  # fmt: skip


def _named(
    scene: Scene, draws: Draws, *, without: Literal["shape", "colour", "material", "size"] | None = None
) -> tuple[Figure, FigureKind | None]:
    """Draw a figure and the kind with the fewest attributes of which it is certainly the only figure."""
    figure = draws.choose(scene.figures)
    for kind in _descriptions(figure, draws):
        if (without is None or getattr(kind, without) is None) and only(scene.figures, kind) is figure:
            return figure, kind
    return figure, None


def _descriptions(figure: Figure, draws: Draws) -> Iterator[FigureKind]:
    """Iterate over kinds of a figure with one attribute, then two, then three; each in random order."""
    for named in _NAMED:
        yield from draws.shuffled(
            [
                FigureKind(
                    figure.shape if shape else None,
                    figure.colour if colour else None,
                    figure.material if material else None,
                    figure.size if size else None,
                )
                for shape, colour, material, size in named
            ]
        )


_NAMED = tuple([which for which in product((False, True), repeat=4) if sum(which) == count] for count in (1, 2, 3))
"""Which of shape, colour, material and size a description names: one, two or three of them."""


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
