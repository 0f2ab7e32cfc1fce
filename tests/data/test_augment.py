from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cbalign.data.arrays import PixelArray
from cbalign.data.augment import OPERATIONS, Augmentation, Operation
from cbalign.data.image import Preprocessing, prepare
from cbalign.experiment.data import AugmentationSection

GREY = (128, 128, 128)


def named(name: str) -> Operation:
    (found,) = (operation for operation in OPERATIONS if operation.__name__ == f"_{name}")
    return found


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def augmentation(**changes: object) -> Augmentation:
    plain: dict[str, object] = {
        "preprocessing": Preprocessing(16),
        "crop_scale": (0.2, 1.0),
        "flip": False,
        "operations": 0,
        "magnitude": 7,
        "fill": 128,
    }
    return Augmentation(**(plain | changes))  # type: ignore[arg-type]


def views(augment: Augmentation, image: Image.Image, count: int = 200) -> list[PixelArray]:
    return [augment(image, np.random.default_rng(seed)) for seed in range(count)]


def test_view_depends_on_the_generator_alone():
    augment = Augmentation.from_section(AugmentationSection(), Preprocessing(32))
    first, again, other = (augment(noise(40, 30), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 2**32))
def test_every_image_gives_a_square_of_uint8(width: int, height: int, seed: int):
    view = Augmentation.from_section(AugmentationSection(), Preprocessing(24))(
        Image.new("RGB", (width, height)), np.random.default_rng(seed)
    )
    assert (view.shape, view.dtype) == ((24, 24, 3), np.uint8)


def test_crops_keep_the_share_of_the_area_that_was_asked_for():
    # Each pixel holds its own position, so corners of a view tell which box was cut out.
    x, y = np.meshgrid(np.arange(200), np.arange(200))
    image = Image.fromarray(np.stack([x, y, x], axis=2).astype(np.uint8))
    shares = []
    for view in views(augmentation(crop_scale=(0.3, 0.6)), image):
        width = int(view[8, -1, 0]) - int(view[8, 0, 0])
        height = int(view[-1, 8, 1]) - int(view[0, 8, 1])
        shares.append(width * height / 200**2 * (16 / 15) ** 2)
    assert 0.28 < min(shares) < 0.34
    assert 0.56 < max(shares) < 0.62


def test_half_of_the_images_are_mirrored():
    image = Image.new("RGB", (16, 16))
    image.paste("white", (0, 0, 8, 16))
    mirrored = [view[8, 15].mean() > 128 for view in views(augmentation(crop_scale=(1.0, 1.0), flip=True), image)]
    assert 70 < sum(mirrored) < 130


def test_an_operation_that_is_drawn_is_applied_half_of_the_time():
    image = noise(16, 16)
    plain = views(augmentation(), image)
    changed = sum(
        not np.array_equal(a, b) for a, b in zip(plain, views(augmentation(operations=1), image), strict=True)
    )
    assert 200 * 0.5 * 0.9 * 0.6 < changed < 200 * 0.5


def test_brightness_at_magnitude_seven_is_a_factor_of_1_36():
    image = Image.new("RGB", (2, 2), (100, 0, 200))
    assert named("brightness")(image, 0.7, GREY).getpixel((0, 0)) == (136, 0, 255)
    assert named("brightness")(image, -0.7, GREY).getpixel((0, 0)) == (136, 0, 255)


def test_sharpness_moves_away_from_the_smoothed_image():
    image = Image.new("RGB", (3, 3), (100, 100, 100))
    image.putpixel((1, 1), (113, 113, 113))
    # smoothed centre: (8 * 100 + 5 * 113) / 13 = 105; 105 + 1.36 * (113 - 105) = 115.9
    assert named("sharpness")(image, 0.7, GREY).getpixel((1, 1))[0] == pytest.approx(116, abs=1)


def test_autocontrast_stretches_each_channel_to_the_full_range():
    pixels = np.asarray(named("autocontrast")(Image.fromarray(np.asarray(noise(9, 9)) // 2 + 40), 0.7, GREY))
    assert pixels.min(axis=(0, 1)).tolist() == [0, 0, 0]
    assert pixels.max(axis=(0, 1)).tolist() == [255, 255, 255]


def test_equalize_spreads_a_narrow_histogram():
    narrow = Image.fromarray((np.asarray(noise(64, 64)) // 8 + 100).astype(np.uint8))
    spread = np.asarray(named("equalize")(narrow, 0.7, GREY))
    assert np.asarray(narrow).std() * 5 < spread.std()


@pytest.mark.parametrize(
    ("name", "source"),
    [
        # where the pixel at (x, y) = (40, 20) comes from at strength 1
        ("shear_x", lambda x, y: (x + 0.3 * y, y)),
        ("shear_y", lambda x, y: (x, y + 0.3 * x)),
        ("translate_x", lambda x, y: (x + 10, y)),
        ("translate_y", lambda x, y: (x, y + 10)),
    ],
)
@pytest.mark.parametrize("strength", [1.0, -1.0, 0.7])
def test_geometry_moves_pixels_as_far_as_in_albef(
    name: str, source: Callable[[float, float], tuple[float, float]], strength: float
):
    x, y = np.meshgrid(np.arange(100), np.arange(100))
    image = Image.fromarray(np.stack([x, y, x], axis=2).astype(np.uint8))
    moved = named(name)(image, strength, GREY).getpixel((40, 20))
    full = source(40, 20)
    expected = (40 + strength * (full[0] - 40), 20 + strength * (full[1] - 20))
    assert moved[:2] == pytest.approx(expected, abs=1)


def test_rotation_turns_by_thirty_degrees_about_the_centre():
    image = Image.new("RGB", (101, 101))
    image.paste("white", (90, 48, 95, 53))
    turned = np.asarray(named("rotate")(image, 1.0, (0, 0, 0)))[:, :, 0].astype(float)
    y, x = (axis @ turned.sum(axis=other) / turned.sum() for other, axis in ((1, np.arange(101)), (0, np.arange(101))))
    # counter-clockwise on the screen, where y points down
    assert (x, y) == pytest.approx((50 + 42 * np.cos(np.pi / 6), 50 - 42 * np.sin(np.pi / 6)), abs=0.6)


@pytest.mark.parametrize("fill", [0, 128, 255])
def test_what_geometry_brings_into_view_has_the_fill(fill: int):
    image = Image.new("RGB", (30, 30), (200, 100, 50))
    assert named("translate_x")(image, 1.0, (fill,) * 3).getpixel((29, 10)) == (fill,) * 3


def test_drawings_on_white_stay_on_white_with_a_white_fill():
    everything = views(
        augmentation(operations=4, magnitude=10, fill=255, crop_scale=(0.5, 1.0)), Image.new("RGB", (20, 20), "white")
    )
    assert all((view == 255).all() for view in everything)


def test_no_crop_no_flip_and_no_operations_is_nearly_the_evaluation_transform():
    image = noise(64, 64).resize((200, 200), Image.Resampling.BICUBIC)
    view = augmentation(crop_scale=(1.0, 1.0))(image, np.random.default_rng(7))
    assert np.abs(view.astype(int) - prepare(image, Preprocessing(16))).mean() < 40
