"""Drawing of scenes: figures as anti-aliased masks over a pale background with faint specks and strokes."""

from __future__ import annotations

import io
import math
from functools import lru_cache

from PIL import Image, ImageChops, ImageDraw

from cbalign.data.scenes.draws import Draws
from cbalign.data.scenes.graph import Colour, Figure, FigureShape, Material, Scene

_OVERSAMPLING = 4
_COLOURS: dict[Colour, tuple[int, int, int]] = {
    "red": (214, 32, 40),
    "orange": (250, 138, 20),
    "yellow": (240, 212, 30),
    "green": (34, 150, 66),
    "blue": (36, 88, 214),
    "purple": (126, 48, 170),
    "pink": (248, 130, 190),
}
_SHADE = (96, 96, 100)
_ANGLE_STEP, _RADIUS_STEPS = 4.0, 96
_RIM = 0.62  # of an outlined figure's radius, the empty inside
_Points = list[tuple[float, float]]


def draw(scene: Scene, side: int) -> Image.Image:
    """Draw a scene, (side, side) RGB."""
    picture = _ground(scene.backdrop, side)
    for figure in scene.figures:
        colour = _SHADE if figure.shaded else _COLOURS[figure.colour]
        _stamp(picture, colour, _mask_of(figure, side), figure.x * side, figure.y * side)
    return picture


def png(picture: Image.Image) -> bytes:
    """Encode a picture as PNG."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _stamp(picture: Image.Image, colour: tuple[int, int, int], mask: Image.Image, x: float, y: float) -> None:
    """Colour the picture through an oversampled mask centred at (x, y), to a quarter of a pixel."""
    left, x_rest = divmod(round(x * _OVERSAMPLING) - mask.width // 2, _OVERSAMPLING)
    top, y_rest = divmod(round(y * _OVERSAMPLING) - mask.height // 2, _OVERSAMPLING)
    frame = mask.width + 2 * _OVERSAMPLING
    framed = Image.new("L", (frame - frame % _OVERSAMPLING, frame - frame % _OVERSAMPLING))
    framed.paste(mask, (x_rest, y_rest))
    picture.paste(colour, (left, top), framed.reduce(_OVERSAMPLING))


def _ground(key: str, side: int) -> Image.Image:
    """Draw a pale background with a few specks and one stroke in a grey that no figure has."""
    draws = Draws("backdrop", key)
    large = 2 * side
    red, green, blue = (232 + draws.below(24) for _ in range(3))
    ground = Image.new("RGB", (large, large), (red, green, blue))
    pen = ImageDraw.Draw(ground)
    grey = (red - 30, green - 30, blue - 30)
    for _ in range(draws.below(5)):
        x, y, radius = draws.below(large), draws.below(large), large * draws.between(0.008, 0.016)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=grey)
    if draws.chance(0.5):
        ends = [(draws.below(large), draws.below(large)) for _ in range(2)]
        pen.line(ends, fill=grey, width=large // 100 + 1)
    return ground.reduce(2)


def _mask_of(figure: Figure, side: int) -> Image.Image:
    large = side * _OVERSAMPLING
    return _mask(
        figure.shape,
        "filled" if figure.shaded else figure.material,
        round(figure.radius * _RADIUS_STEPS) * large // _RADIUS_STEPS,
        round(figure.angle / _ANGLE_STEP) * _ANGLE_STEP,
        large // 36,
    )


@lru_cache(maxsize=2048)
def _mask(shape: FigureShape, material: Material, radius: int, angle: float, stripe: int) -> Image.Image:
    """Draw the area of a figure that has its colour, oversampled, as the smallest possible L image."""
    side = 2 * radius + 3
    mask = _silhouette(shape, side, radius, angle)
    if material == "outlined":
        return ImageChops.subtract(mask, _silhouette(shape, side, radius * _RIM, angle))
    if material == "striped":
        return ImageChops.darker(mask, _stripes(side, max(stripe, radius // 4)))
    return mask


def _stripes(side: int, width: int) -> Image.Image:
    stripes = Image.new("L", (side, side))
    pen = ImageDraw.Draw(stripes)
    for offset in range(-side, side, 2 * width):
        pen.polygon([(offset, 0), (offset + width, 0), (offset + width + side, side), (offset + side, side)], fill=255)
    return stripes


def _silhouette(shape: FigureShape, side: int, radius: float, angle: float) -> Image.Image:
    mask = Image.new("L", (side, side))
    pen = ImageDraw.Draw(mask)
    centre = side / 2
    if shape == "circle":
        pen.ellipse((centre - radius, centre - radius, centre + radius, centre + radius), fill=255)
        return mask
    turn = math.radians(angle)
    cos, sin = math.cos(turn) * radius, math.sin(turn) * radius
    pen.polygon([(centre + x * cos - y * sin, centre + x * sin + y * cos) for x, y in _outline(shape)], fill=255)
    return mask


@lru_cache
def _outline(shape: FigureShape) -> _Points:
    """Return the corners of a shape in the unit circle, y downwards."""
    match shape:
        case "square":
            return [(-0.78, -0.78), (0.78, -0.78), (0.78, 0.78), (-0.78, 0.78)]
        case "triangle":
            return [(0.0, -1.0), (0.92, 0.7), (-0.92, 0.7)]
        case "star":
            return [_at(90 - 36 * i, 1.0 if i % 2 == 0 else 0.42) for i in range(10)]
        case "cross":
            arm = 0.3
            quarter = [(-arm, -1.0), (arm, -1.0), (arm, -arm)]
            return [_turned(point, 90 * i) for i in range(4) for point in quarter]
        case "heart":
            return [_heart(i / 40 * math.tau) for i in range(40)]
        case "circle":
            return [_at(9 * i, 1.0) for i in range(40)]


def _at(degrees: float, radius: float) -> tuple[float, float]:
    return radius * math.cos(math.radians(degrees)), -radius * math.sin(math.radians(degrees))


def _turned(point: tuple[float, float], degrees: float) -> tuple[float, float]:
    (x, y), (cos, sin) = point, (math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
    return x * cos - y * sin, x * sin + y * cos


def _heart(t: float) -> tuple[float, float]:
    x = 16 * math.sin(t) ** 3
    y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
    return x / 17, -(y + 2) / 17
