"""Content of a scene: two to four figures on a 3 x 3 grid, each with shape, colour, material, size and place.

Six of the 42 combinations of shape and colour, `HELD_OUT`, are held out: no figure of `train`, `validation` or `test`
has one, every scene of `compositions` has at least one. Each shape, and each colour but one, occurs in one held-out
combination, so that all of them can be learned from the other combinations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from cbalign.data.scenes.draws import Draws
from cbalign.data.sections.drawings import ScenesSplit

FigureShape = Literal["circle", "square", "triangle", "star", "cross", "heart"]
Colour = Literal["red", "orange", "yellow", "green", "blue", "purple", "pink"]
Material = Literal["filled", "outlined", "striped"]
Size = Literal["small", "large"]
Direction = Literal["left of", "right of", "above", "below"]

SHAPES: tuple[FigureShape, ...] = get_args(FigureShape)
COLOURS: tuple[Colour, ...] = get_args(Colour)
MATERIALS: tuple[Material, ...] = get_args(Material)
SIZES: tuple[Size, ...] = get_args(Size)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

HELD_OUT: frozenset[tuple[FigureShape, Colour]] = frozenset(zip(SHAPES, COLOURS))
MOST_FIGURES = 4

_CELLS = tuple((column, row) for row in range(3) for column in range(3))
_JITTER = 0.03  # figures in a column differ by at most twice this, those in different columns by more than 1/4
_APART = 1 / 6
_RADIUS: dict[Size, tuple[float, float]] = {"small": (0.085, 0.095), "large": (0.125, 0.135)}
_SAME_SHAPE, _SAME_COLOUR = 0.3, 0.25
_TURN = 12.0


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure. Lengths are relative to the side of the picture; x points right, y down.

    Args:
        shape: always visible.
        colour: visible unless `shaded`.
        material: visible unless `shaded`.
        size: always visible.
        shaded: whether only the silhouette is visible.
        x: centre.
        y: centre.
        radius: of the circle around the figure.
        angle: rotation in degrees.
    """

    shape: FigureShape
    colour: Colour
    material: Material
    size: Size
    shaded: bool
    x: float
    y: float
    radius: float
    angle: float

    def lies(self, direction: Direction, other: Figure) -> bool:
        """Check whether this figure is left of, right of, above or below another, by at least a column or row.

        Figures in the same column are neither left nor right of each other, although they are not exactly aligned.
        """
        match direction:
            case "left of":
                return other.x - self.x > _APART
            case "right of":
                return self.x - other.x > _APART
            case "above":
                return other.y - self.y > _APART
            case "below":
                return self.y - other.y > _APART


@dataclass(frozen=True, slots=True)
class Scene:
    """Figures that do not overlap, and the key of a meaningless background."""

    figures: tuple[Figure, ...]
    backdrop: str


def scene_of(split: ScenesSplit, index: int, seed: int = 0) -> Scene:
    """Generate scene `index` of a split."""
    return draw_scene(Draws(seed, split, "scene", index), split)


@dataclass(frozen=True, slots=True)
class Palette:
    """The shapes and colours of the figures of a scene; with `distinct` no two figures have the same shape."""

    shapes: tuple[FigureShape, ...] = SHAPES
    colours: tuple[Colour, ...] = COLOURS
    distinct: bool = False

    def held_out(self) -> list[tuple[FigureShape, Colour]]:
        """Return the held-out combinations of the palette."""
        return [(shape, colour) for shape in self.shapes for colour in self.colours if (shape, colour) in HELD_OUT]


FULL = Palette()


def draw_palette(draws: Draws, split: ScenesSplit) -> Palette:
    """Draw a few shapes and colours, for similar scenes; in `compositions` with a held-out combination."""
    while True:
        distinct = draws.chance(0.6)
        shapes, colours = draws.shuffled(SHAPES)[: 4 if distinct else 3], draws.shuffled(COLOURS)[:3]
        palette = Palette(tuple(shapes), tuple(colours), distinct)
        if split != "compositions" or palette.held_out():
            return palette


def draw_scene(draws: Draws, split: ScenesSplit, palette: Palette = FULL, shade: float = 0.12) -> Scene:
    """Draw a scene of a split.

    Args:
        draws: source of the random choices.
        split: decides which combinations of shape and colour occur.
        palette: shapes and colours; for `compositions` with a held-out combination.
        shade: probability that a figure is in the shade.
    """
    cells = draws.shuffled(_CELLS)[: 2 + draws.below(MOST_FIGURES - 1)]
    figures: list[Figure] = []
    for column, row in cells:
        novel = split == "compositions" and (not figures or draws.chance(0.3))
        shape, colour = _combination(draws, palette, figures, novel=novel)
        size = draws.choose(SIZES)
        figures.append(
            Figure(
                shape=shape,
                colour=colour,
                material=draws.choose(MATERIALS),
                size=size,
                shaded=draws.chance(shade) and (shape, colour) not in HELD_OUT,
                x=(2 * column + 1) / 6 + draws.between(-_JITTER, _JITTER),
                y=(2 * row + 1) / 6 + draws.between(-_JITTER, _JITTER),
                radius=draws.between(*_RADIUS[size]),
                angle=draws.between(-_TURN, _TURN),
            )
        )
    return Scene(tuple(figures), backdrop=str(draws.below(2**30)))


def _combination(draws: Draws, palette: Palette, figures: list[Figure], *, novel: bool) -> tuple[FigureShape, Colour]:
    """Draw a combination that is held out if `novel`, else not; often with the shape or colour of another figure."""
    if novel:
        free = [
            pair for pair in palette.held_out() if not palette.distinct or pair[0] not in {f.shape for f in figures}
        ]
        if free:
            return draws.choose(free)
    while True:
        repeats = bool(figures) and not palette.distinct and draws.chance(_SAME_SHAPE)
        shape = draws.choose(figures).shape if repeats else draws.choose(palette.shapes)
        repeats = bool(figures) and draws.chance(_SAME_COLOUR)
        colour = draws.choose(figures).colour if repeats else draws.choose(palette.colours)
        taken = palette.distinct and any(figure.shape == shape for figure in figures)
        if (shape, colour) not in HELD_OUT and not taken:
            return shape, colour
