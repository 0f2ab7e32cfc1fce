"""Random kinds and claims that are close to what scenes show, so that they are neither always nor never true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cbalign.data.scenes.draws import Draws
from cbalign.data.scenes.facts import NONE, SOME, Claim, Count, Each, FigureKind, HowMany, Region
from cbalign.data.scenes.graph import DIRECTIONS, FULL, MATERIALS, SIZES, Figure, Palette, Scene, Size
from cbalign.data.sections.drawings import ScenesSplit


def propose_kind(figure: Figure, draws: Draws, split: ScenesSplit, palette: Palette = FULL) -> FigureKind:
    """Propose a kind of one to three attributes of a figure; half of the time one of them is exchanged.

    Held-out combinations are proposed in `compositions` only.
    """
    while True:
        shape = figure.shape if draws.chance(0.7) else None
        kind = FigureKind(
            shape=shape,
            colour=figure.colour if shape is None or draws.chance(0.6) else None,
            material=figure.material if draws.chance(0.2) else None,
            size=figure.size if draws.chance(0.2) else None,
        )
        if draws.chance(0.5):
            kind = _exchanged(kind, draws, palette)
        if split == "compositions" or not kind.novel:
            return kind


def propose_claim(scenes: Sequence[Scene], draws: Draws, split: ScenesSplit, palette: Palette = FULL) -> Claim:
    """Propose a claim about what one of the scenes shows, or nearly shows.

    Forms that apply to few pictures, because they refer to "the star", are proposed most often.
    """
    figure = draws.choose(draws.choose(scenes).figures)
    match draws.below(16):
        case 0 | 1 | 2 | 3 | 4:
            return _attribute(figure, draws, split, palette, several=False)
        case 5 | 6 | 7:
            return _attribute(figure, draws, split, palette, several=True)
        case 8 | 9 | 10 | 11:
            anchor = draws.choose(draws.choose(scenes).figures)
            region = Region(draws.choose(DIRECTIONS), FigureKind(anchor.shape, size=_sometimes(anchor, draws)))
            return HowMany(propose_kind(figure, draws, split, palette), SOME, region)
        case 12 | 13:
            least = 1 + draws.below(3)
            most = least if least == 1 or draws.chance(0.6) else SOME.most
            return HowMany(propose_kind(figure, draws, split, palette), Count(least, most))
        case 14:
            return HowMany(propose_kind(figure, draws, split, palette), NONE)
        case _:
            return HowMany(propose_kind(figure, draws, split, palette), SOME)


def _attribute(figure: Figure, draws: Draws, split: ScenesSplit, palette: Palette, *, several: bool) -> Each:
    of = FigureKind(figure.shape, size=_sometimes(figure, draws))
    while True:
        kind = (
            FigureKind(colour=draws.choose(palette.colours))
            if draws.chance(0.7)
            else FigureKind(material=draws.choose(MATERIALS))
        )
        if split == "compositions" or not replace(of, colour=kind.colour).novel:
            return Each(of, kind, several)


def _sometimes(figure: Figure, draws: Draws) -> Size | None:
    return figure.size if draws.chance(0.2) else None


def _exchanged(kind: FigureKind, draws: Draws, palette: Palette) -> FigureKind:
    """Replace one of the attributes of a kind by a random one."""
    has = [name for name in ("shape", "colour", "material", "size") if getattr(kind, name) is not None]
    match draws.choose(has):
        case "shape":
            return replace(kind, shape=draws.choose(palette.shapes))
        case "colour":
            return replace(kind, colour=draws.choose(palette.colours))
        case "material":
            return replace(kind, material=draws.choose(MATERIALS))
        case _:
            return replace(kind, size=draws.choose(SIZES))
