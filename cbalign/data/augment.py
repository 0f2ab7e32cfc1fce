"""Augmentation of training images: random crop, horizontal flip and RandAugment with ALBEF's ten operations.

All random numbers come from the generator that is passed in. There is no colour jitter, because captions name colours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from cbalign.data.arrays import PixelArray
from cbalign.data.image import FILTERS, Preprocessing, prepare
from cbalign.experiment.data import AugmentationSection

Colour: TypeAlias = tuple[int, int, int]
Operation: TypeAlias = Callable[[Image.Image, float, Colour], Image.Image]

_ASPECT = (3 / 4, 4 / 3)
_CROP_ATTEMPTS = 10
_PROBABILITY = 0.5


class Augmentation:
    """Random resized crop, horizontal flip and RandAugment, in this order, as in ALBEF.

    Args:
        preprocessing: size of the result and filter of the crop.
        crop_scale: least and greatest area of a crop, as a share of the image.
        flip: flip images with probability 1/2.
        operations: RandAugment's N, drawn with replacement; each is applied with probability 1/2.
        magnitude: RandAugment's M, at most 10.
        fill: grey level of the pixels that rotation, shear and translation expose.
    """

    def __init__(
        self,
        *,
        preprocessing: Preprocessing,
        crop_scale: tuple[float, float],
        flip: bool,
        operations: int,
        magnitude: int,
        fill: int,
    ) -> None:
        self._size = preprocessing.size
        self._filter = FILTERS[preprocessing.resample]
        self._crop_scale = crop_scale
        self._flip = flip
        self._operations = operations
        self._strength = magnitude / 10
        self._fill = (fill, fill, fill)

    @classmethod
    def from_section(cls, section: AugmentationSection, preprocessing: Preprocessing) -> Augmentation:
        """Make the augmentation that a spec describes."""
        return cls(
            preprocessing=preprocessing,
            crop_scale=section.crop_scale,
            flip=section.flip,
            operations=section.randaugment.operations,
            magnitude=section.randaugment.magnitude,
            fill=section.randaugment.fill,
        )

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> PixelArray:
        """Make one view (size, size, 3) of an RGB image."""
        box = _crop_box(image.width, image.height, self._crop_scale, rng)
        view = image.resize((self._size, self._size), self._filter, box=box)
        if self._flip and rng.random() < 0.5:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for operation in rng.integers(len(OPERATIONS), size=self._operations):
            applied, sign = rng.random(2)
            if applied < _PROBABILITY:
                level = self._strength if sign < 0.5 else -self._strength
                view = OPERATIONS[operation](view, level, self._fill)
        return np.asarray(view)


class Unaugmented:
    """The evaluation transform, in the form of an augmentation."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> PixelArray:
        """Resize the image to (size, size, 3)."""
        return prepare(image, self._preprocessing)


def _crop_box(
    width: int, height: int, scale: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw a box of random area and aspect ratio; the largest central one if ten attempts do not fit."""
    low, high = math.log(_ASPECT[0]), math.log(_ASPECT[1])
    for _ in range(_CROP_ATTEMPTS):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return x, y, x + w, y + h
    w = min(width, max(1, round(height * _ASPECT[1])))
    h = min(height, max(1, round(width / _ASPECT[0])))
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h


def _identity(image: Image.Image, level: float, fill: Colour) -> Image.Image:
    return image


def _autocontrast(image: Image.Image, level: float, fill: Colour) -> Image.Image:
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, level: float, fill: Colour) -> Image.Image:
    return ImageOps.equalize(image)


def _factor(level: float) -> float:
    """Map strength to 0.1 (none) to 1.9 (full); brightness and sharpness ignore the sign."""
    return abs(level) * 1.8 + 0.1


def _brightness(image: Image.Image, level: float, fill: Colour) -> Image.Image:
    factor = _factor(level)
    return image.point([min(255, int(value * factor)) for value in range(256)] * 3)


def _sharpness(image: Image.Image, level: float, fill: Colour) -> Image.Image:
    return Image.blend(image.filter(ImageFilter.SMOOTH), image, _factor(level))


def _shear_x(image: Image.Image, level: float, fill: Colour) -> Image.Image:
    return _affine(image, (1, 0.3 * level, 0, 0, 1, 0), fill)


def _shear_y(image: Image.Image, level: float, fill: Colour) -> Image.Image:
    return _affine(image, (1, 0, 0, 0.3 * level, 1, 0), fill)


def _translate_x(image: Image.Image, level: float, fill: Colour) -> Image.Image:
    return _affine(image, (1, 0, 10 * level, 0, 1, 0), fill)


def _translate_y(image: Image.Image, level: float, fill: Colour) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, 10 * level), fill)


def _rotate(image: Image.Image, level: float, fill: Colour) -> Image.Image:
    return image.rotate(30 * level, Image.Resampling.BILINEAR, fillcolor=fill)


def _affine(image: Image.Image, matrix: tuple[float, float, float, float, float, float], fill: Colour) -> Image.Image:
    """Take the pixel at (x, y) from (ax + by + c, dx + ey + f); shears fix the top left corner, as in ALBEF."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill)


OPERATIONS: tuple[Operation, ...] = (
    _identity,
    _autocontrast,
    _equalize,
    _brightness,
    _sharpness,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
    _rotate,
)
"""ALBEF's ten operations: at strength 1 a shear of 0.3, a shift of 10 pixels, a rotation of 30°, a factor of 1.9."""
