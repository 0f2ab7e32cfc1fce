"""Foils of scenes: two pictures and two captions in the same words, each true of one picture and false of the other.

The second picture is the first with one thing swapped between two figures: their colours, materials, sizes or places.
The captions name both figures, with that swapped as well, so that a model that does not bind attributes to figures
cannot tell them apart. Truth is proved by `facts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations

from cbalign.data.scenes.draws import Draws
from cbalign.data.scenes.facts import SOME, FigureKind, HowMany, Region, Truth, judge
from cbalign.data.scenes.graph import DIRECTIONS, HELD_OUT, Direction, Figure, Scene, draw_scene
from cbalign.data.scenes.language import a, direction, noun
from cbalign.data.sections.drawings import ScenesSplit

CATEGORIES = ("swap_colour", "swap_material", "swap_size", "swap_relation")
"""What is swapped; consecutive foils have all of them in turn."""

_Claims = tuple[HowMany, ...]
_KEPT = 2**14


@dataclass(frozen=True)
class SceneFoil:
    """Two scenes and their captions: caption i is true of scene i and false of the other."""

    scenes: tuple[Scene, Scene]
    captions: tuple[str, str]
    category: str


@lru_cache(maxsize=_KEPT)
def foil_of(split: ScenesSplit, index: int, seed: int = 0) -> SceneFoil:
    """Generate foil `index` of a split."""
    category = CATEGORIES[index % len(CATEGORIES)]
    draws = Draws(seed, split, "foils", index)
    while True:
        scene = draw_scene(draws, split, shade=0.0)
        make = _relation if category == "swap_relation" else _attribute(category.removeprefix("swap_"))
        for one, other in draws.shuffled(list(permutations(range(len(scene.figures)), 2))):
            if (found := make(scene, one, other, draws)) is not None and _is_possible(found.scenes[1], split):
                return found


def _attribute(name: str) -> Callable[[Scene, int, int, Draws], SceneFoil | None]:
    """Return a function that swaps an attribute of two figures of different shape."""

    def make(scene: Scene, one: int, other: int, draws: Draws) -> SceneFoil | None:
        first, second = scene.figures[one], scene.figures[other]
        mine, theirs = getattr(first, name), getattr(second, name)
        if mine == theirs or first.shape == second.shape:
            return None
        changed = (_with(first, name, second), _with(second, name, first))
        swapped = _put(scene, {one: changed[0], other: changed[1]})
        kinds = [FigureKind(shape=f.shape, **{name: getattr(f, name)}) for f in (first, second, *changed)]
        claims = tuple(HowMany(kind, SOME) for kind in kinds)
        if not _tells_apart((scene, swapped), (claims[:2], claims[2:])):
            return None
        words = [noun(kind, draws).removesuffix(f" {kind.shape}") for kind in kinds[:2]]
        shapes = (first.shape, second.shape)
        texts = tuple(
            " and ".join(a(f"{word} {shape}") for word, shape in zip(said, shapes)) for said in (words, words[::-1])
        )
        return SceneFoil((scene, swapped), (texts[0], texts[1]), f"swap_{name}")

    return make


def _relation(scene: Scene, one: int, other: int, draws: Draws) -> SceneFoil | None:
    """Swap the places of two figures that differ in shape or colour."""
    first, second = scene.figures[one], scene.figures[other]
    ways: list[Direction] = [way for way in DIRECTIONS if first.lies(way, second)]
    kinds = [FigureKind(f.shape, f.colour) for f in (first, second)]
    if not ways or kinds[0] == kinds[1]:
        return None
    moved = {one: replace(first, x=second.x, y=second.y), other: replace(second, x=first.x, y=first.y)}
    swapped, way = _put(scene, moved), draws.choose(ways)
    claims = tuple(HowMany(x, SOME, Region(way, y)) for x, y in (kinds, kinds[::-1]))
    if not _tells_apart((scene, swapped), ((claims[0],), (claims[1],))):
        return None
    words = direction(way, draws)
    texts = tuple(f"{a(noun(x, draws))} {words} {a(noun(y, draws))}" for x, y in (kinds, kinds[::-1]))
    return SceneFoil((scene, swapped), (texts[0], texts[1]), "swap_relation")


def _with(figure: Figure, name: str, other: Figure) -> Figure:
    """Give a figure the attribute of another, and with its size its radius."""
    changes = {name: getattr(other, name)} | ({"radius": other.radius} if name == "size" else {})
    return replace(figure, **changes)


def _put(scene: Scene, figures: dict[int, Figure]) -> Scene:
    return replace(scene, figures=tuple(figures.get(i, figure) for i, figure in enumerate(scene.figures)))


def _tells_apart(scenes: tuple[Scene, Scene], claims: tuple[_Claims, _Claims]) -> bool:
    """Whether all claims of a caption are true of its own scene, and one is false of the other."""
    own = all(judge(claim, scene) is Truth.TRUE for scene, said in zip(scenes, claims) for claim in said)
    other = all(any(judge(claim, scene) is Truth.FALSE for claim in said) for scene, said in zip(scenes[::-1], claims))
    return own and other


def _is_possible(scene: Scene, split: ScenesSplit) -> bool:
    """Whether a split may have the combinations of shape and colour of a scene."""
    return split == "compositions" or not any((f.shape, f.colour) in HELD_OUT for f in scene.figures)
