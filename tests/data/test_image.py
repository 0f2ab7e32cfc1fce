from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cbalign.data.image import CLIP_MEAN, Preprocessing, decode, prepare
from cbalign.errors import BundleError, DataError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def test_rgb_pixels_come_back_unchanged():
    image = noise(5, 3)
    assert np.array_equal(np.asarray(decode(encoded(image))), np.asarray(image))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(mode: str):
    clear = Image.new(mode, (2, 2), 0)
    assert decode(encoded(clear)).getpixel((0, 0)) == (255, 255, 255)


def test_half_transparent_black_over_white_is_grey():
    (value, *_) = decode(encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))).getpixel((0, 0))
    assert value == pytest.approx(127, abs=1)


def test_transparent_palette_entry_is_white_and_others_keep_their_colour():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    decoded = decode(encoded(image, transparency=0))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 255)]


def test_transparent_colour_of_an_rgb_png_is_white():
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (1, 2, 3))
    decoded = decode(encoded(image, transparency=(10, 20, 30)))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (1, 2, 3)]


def test_exif_orientation_is_applied():
    image = Image.new("RGB", (4, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert decode(encoded(image, "JPEG", exif=exif)).size == (2, 4)


def test_sixteen_bit_grey_is_scaled_to_eight():
    image = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    assert np.asarray(decode(encoded(image)))[0, :, 0].tolist() == [0, 100, 255]


def test_float_grey_in_the_unit_interval_is_scaled_to_eight_bits():
    image = Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32))
    assert np.asarray(decode(encoded(image, "TIFF")))[0, :, 1].tolist() == [0, 128, 255]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_other_modes_become_rgb(mode: str):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert decode(encoded(noise(4, 4).convert(mode), kind)).mode == "RGB"


def test_cmyk_white_paper_is_white():
    assert decode(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "TIFF")).getpixel((4, 4)) == (255, 255, 255)


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_truncated_file_is_a_data_error_that_names_it(tmp_path: Path, kind: str):
    path = tmp_path / "half.img"
    data = encoded(noise(64, 64), kind)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"half\.img"):
        decode(path)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"not an image at all", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_image_is_a_data_error(data: bytes):
    with pytest.raises(DataError, match="photo 7"):
        decode(data, name="photo 7")


def test_missing_file_is_a_data_error(tmp_path: Path):
    with pytest.raises(DataError, match=r"nothing\.jpg: no such image"):
        decode(tmp_path / "nothing.jpg")


def test_folder_is_a_data_error(tmp_path: Path):
    with pytest.raises(DataError):
        decode(tmp_path)


def test_too_many_pixels_are_refused_from_the_header():
    with pytest.raises(DataError, match="64 x 64 pixels"):
        decode(encoded(Image.new("1", (64, 64))), max_pixels=4095)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_lose_the_image():
    data = bytearray(encoded(Image.new("RGB", (4, 2)), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 20))
    assert decode(bytes(data)).size == (4, 2)


def test_prepare_gives_a_square_of_uint8():
    pixels = prepare(noise(37, 11), Preprocessing(16))
    assert (pixels.shape, pixels.dtype) == ((16, 16, 3), np.uint8)


def test_prepare_averages_when_it_shrinks():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(prepare(Image.fromarray(stripes), Preprocessing(8))[2:-2, 2:-2].astype(int) - 128).max() <= 1


def test_preprocessing_survives_json():
    description = Preprocessing(size=224)
    assert Preprocessing.from_json(description.to_json()) == description
    assert description.mean == CLIP_MEAN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"size": "64", "mean": [0, 0, 0], "std": [1, 1, 1]}',
        Preprocessing(64).to_json().replace("bicubic", "nearest"),
        Preprocessing(64).to_json().replace('"size": 64', '"size": 0'),
    ],
)
def test_damaged_preprocessing_is_a_bundle_error(text: str):
    with pytest.raises(BundleError, match="preprocessing"):
        Preprocessing.from_json(text)
