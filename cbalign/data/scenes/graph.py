"""What a scene holds: two to four figures on a three by three grid, each with shape, colour, material, size and place.

Six of the 42 combinations of a shape and a colour are held out: no figure of `train`, `validation` or `test` has one,
every scene of `compositions` has at least one. Held out are the combinations of `HELD_OUT`, in which each shape and
all colours but one occur once, so that every shape and every colour is learned from other combinations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from cbalign.data.scenes.draws import Draws
from cbalign.data.sections.drawings import ScenesSplit

Shape = Literal["circle", "square", "triangle", "star", "cross", "heart"]
Colour = Literal["red", "orange", "yellow", "green", "blue", "purple", "pink"]
Material = Literal["filled", "outlined", "striped"]
Size = Literal["small", "large"]
Direction = Literal["left of", "right of", "above", "below"]

SHAPES: tuple[Shape, ...] = get_args(Shape)
COLOURS: tuple[Colour, ...] = get_args(Colour)
MATERIALS: tuple[Material, ...] = get_args(Material)
SIZES: tuple[Size, ...] = get_args(Size)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

HELD_OUT: frozenset[tuple[Shape, Colour]] = frozenset(zip(SHAPES, COLOURS))
MOST_FIGURES = 4

_CELLS = tuple((column, row) for row in range(3) for column in range(3))
_JITTER = 0.03  # figures of one column differ by at most twice this, those of two by more than a quarter
_APART = 1 / 6
_RADIUS: dict[Size, tuple[float, float]] = {"small": (0.085, 0.095), "large": (0.125, 0.135)}
_SAME_SHAPE, _SAME_COLOUR = 0.3, 0.25
_TURN = 12.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. Lengths are shares of the picture's side; x grows to the right, y downwards.

    Args:
        shape: always seen.
        colour: seen unless `shaded`.
        material: seen unless `shaded`.
        size: always seen.
        shaded: whether only the silhouette is seen.
        x: centre.
        y: centre.
        radius: of the circle around the figure.
        angle: degrees it is turned by.
    """

    shape: Shape
    colour: Colour
    material: Material
    size: Size
    shaded: bool
    x: float
    y: float
    radius: float
    angle: float

    def lies(self, direction: Direction, other: Figure) -> bool:
        """Whether this figure is left of, right of, above or below another: by a column or a row at least.

        Figures of one column are neither left nor right of each other, though no two are exactly in line.
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
    """Figures that neither touch nor cover each other, and a key for what is drawn behind them and means nothing."""

    figures: tuple[Figure, ...]
    backdrop: str


def scene_of(split: ScenesSplit, index: int, seed: int = 0) -> Scene:
    """Scene `index` of a split."""
    return draw_scene(Draws(seed, split, "scene", index), split)


@dataclass(frozen=True, slots=True)
class Palette:
    """The shapes and colours that the figures of a scene are of; `distinct`: no two of them have the same shape."""

    shapes: tuple[Shape, ...] = SHAPES
    colours: tuple[Colour, ...] = COLOURS
    distinct: bool = False

    def held_out(self) -> list[tuple[Shape, Colour]]:
        """Its combinations that training has not."""
        return [(shape, colour) for shape in self.shapes for colour in self.colours if (shape, colour) in HELD_OUT]


FULL = Palette()


def draw_palette(draws: Draws, split: ScenesSplit) -> Palette:
    """A few shapes and colours, for scenes that are alike; in `compositions` with a held-out combination."""
    while True:
        distinct = draws.chance(0.6)
        shapes, colours = draws.shuffled(SHAPES)[: 4 if distinct else 3], draws.shuffled(COLOURS)[:3]
        palette = Palette(tuple(shapes), tuple(colours), distinct)
        if split != "compositions" or palette.held_out():
            return palette


def draw_scene(draws: Draws, split: ScenesSplit, palette: Palette = FULL, shade: float = 0.12) -> Scene:
    """A scene as a split has them.

    Args:
        draws: consumed.
        split: says which combinations of shape and colour occur.
        palette: what figures are of; for `compositions` with a held-out combination.
        shade: probability of a figure to stand in the shade.
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


def _combination(draws: Draws, palette: Palette, figures: list[Figure], *, novel: bool) -> tuple[Shape, Colour]:
    """A combination that training has or, if `novel`, has not; often with a shape or a colour of another figure."""
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
