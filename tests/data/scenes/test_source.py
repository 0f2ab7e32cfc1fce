from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from cbalign.data.image import decode
from cbalign.data.scenes.drawing import draw
from cbalign.data.scenes.graph import COLOURS, Figure, Scene
from cbalign.data.scenes.source import ScenePairs
from cbalign.data.sections.drawings import ScenesSource
from cbalign.data.source import gallery, open_source


@pytest.fixture(scope="module")
def source() -> ScenePairs:
    return ScenePairs("test", 30, render_size=48, seed=0)


def filled(shape: str, colour: str, *, shaded: bool = False) -> Scene:
    figure = Figure(shape, colour, "filled", "large", shaded, x=0.5, y=0.5, radius=0.13, angle=0.0)  # type: ignore[arg-type]
    return Scene((figure,), backdrop="any")


def test_section_opens_as_many_scenes_of_the_split_as_it_says():
    opened = open_source(ScenesSource(source="scenes", split="compositions", size=7, render_size=32), "pairs")
    assert (len(opened), opened.images(0)[0].size, opened.name) == (7, (32, 32), "scenes compositions")


def test_gallery_holds_every_scene_once_and_three_captions_of_each(source: ScenePairs):
    shown = gallery(source)
    assert shown.image_entries.tolist() == list(range(30))
    assert shown.caption_image.tolist() == [i for i in range(30) for _ in range(3)]


def test_the_beginning_of_more_scenes_is_the_same(source: ScenePairs):
    more = ScenePairs("test", 3000, render_size=48, seed=0)
    assert more.item(11) == source.item(11)
    assert np.array_equal(more.images(11)[0], source.images(11)[0])


def test_another_seed_gives_other_scenes(source: ScenePairs):
    other = ScenePairs("test", 30, render_size=48, seed=1)
    assert all(other.item(i).captions != source.item(i).captions for i in range(30))


def test_the_file_of_a_scene_is_a_png_of_its_pixels(source: ScenePairs):
    assert source.read(0)[0].startswith(b"\x89PNG")
    assert np.array_equal(np.asarray(decode(source.read(0)[0])), np.asarray(source.images(0)[0]))


def test_source_travels_to_spawned_workers(source: ScenePairs):
    copy = pickle.loads(pickle.dumps(source))
    assert np.array_equal(copy.images(5)[0], source.images(5)[0])


@pytest.mark.parametrize("size", [32, 64, 200])
def test_a_figure_has_its_colour_and_a_shaded_one_has_none(size: int):
    middles = [np.asarray(draw(filled("square", colour), size))[size // 2, size // 2] for colour in COLOURS]
    assert len({tuple(middle) for middle in middles}) == len(COLOURS)
    red = np.asarray(draw(filled("square", "red"), size))[size // 2, size // 2]
    assert red[0] > 180 > 80 > red[1:].max()
    hidden = [np.asarray(draw(filled("square", colour, shaded=True), size)) for colour in ("red", "blue")]
    assert np.array_equal(*hidden)


def test_shapes_differ_and_edges_are_smooth():
    from cbalign.data.scenes.graph import SHAPES

    pictures = [np.asarray(draw(filled(shape, "blue"), 64)).astype(int) for shape in SHAPES]
    for i, one in enumerate(pictures):
        assert all(abs(one - other).max() > 100 for other in pictures[:i])
    reds = pictures[0][16:48, 16:48, 0]
    assert len(np.unique(reds)) > 8


def test_a_filled_square_covers_the_area_that_it_should():
    picture = np.asarray(draw(filled("square", "blue"), 200)).astype(int)
    covered = (picture[..., 0] < 130).sum() / 200**2
    assert covered == pytest.approx((2 * 0.78 * 0.13) ** 2, rel=0.1)


def test_scenes_import_no_torch():
    program = (
        "import sys, cbalign.data.scenes.source, cbalign.data.scenes.questions, cbalign.data.scenes.statements, "
        "cbalign.data.scenes.hypotheses; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
