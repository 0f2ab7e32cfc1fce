from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from cbalign.data.folders import open_folders
from cbalign.data.source import open_source, source_of_file
from cbalign.errors import DataError, UsageError

SUGAR = {"filename": "0.png", "caption": "a red cup", "negative_caption": "a blue cup"}
WINO = {
    "id": 0,
    "image_0": "0",
    "image_1": "1.png",
    "caption_0": "a cup on a book",
    "caption_1": "a book on a cup",
    "collapsed_tag": "Object",
    "tag": "Noun",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(2):
        Image.new("RGB", (8, 8), (100 * number, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def opened(folder: Path, text: str, name: str = "swap_att.json"):
    (folder / name).write_text(text)
    return open_source(source_of_file(folder / name, "foils"), "foils")


@pytest.mark.parametrize(
    "text", [json.dumps({"0": SUGAR, "7": SUGAR}), json.dumps([SUGAR, SUGAR]), f"{json.dumps(SUGAR)}\n" * 2]
)
def test_sugarcrepes_objects_lists_and_lines_are_read(folder: Path, text: str):
    source = opened(folder, text)
    assert len(source) == 2
    foil = source.item(1)
    assert (foil.captions, foil.image_keys, foil.category) == (("a red cup", "a blue cup"), ("0.png",), "swap_att")
    assert source.images(1)[0].size == (8, 8)


def test_winogrounds_lines_have_two_images_and_a_tag(folder: Path):
    source = opened(folder, json.dumps(WINO), "examples.jsonl")
    foil = source.item(0)
    assert foil.image_keys == ("0.png", "1.png")
    assert foil.captions == ("a cup on a book", "a book on a cup")
    assert foil.category == "Object"
    assert [image.getpixel((0, 0)) for image in source.images(0)] == [(0, 0, 0), (100, 0, 0)]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**SUGAR, "negative_caption": "a red cup"}, "entry 1: both captions are 'a red cup'"),
        ({k: v for k, v in SUGAR.items() if k != "filename"}, "entry 1: no field filename"),
        ({**SUGAR, "filename": "../0.png"}, "entry 1: image '../0.png' is not inside the root"),
    ],
)
def test_entries_that_are_no_foils_are_refused_with_their_place(folder: Path, entry: dict, message: str):
    with pytest.raises(DataError, match=message):
        opened(folder, json.dumps([entry]))


def test_a_file_without_foils_is_not_taken_for_one(folder: Path):
    (folder / "pairs.json").write_text('[{"image": "0.png", "caption": "a cup"}]')
    with pytest.raises(UsageError, match="no source reads foils"):
        source_of_file(folder / "pairs.json", "foils")


def test_the_label_of_an_image_is_the_name_of_its_folder(folder: Path):
    for name in ("dog", "cat", ".hidden"):
        (folder / name).mkdir()
        Image.new("RGB", (8, 8)).save(folder / name / "1.png")
    (folder / "cat" / "notes.txt").write_text("")
    source = open_source(source_of_file(folder, "pairs"), "pairs")
    assert [(source.item(i).image_key, source.item(i).captions) for i in range(len(source))] == [
        ("cat/1.png", ("cat",)),
        ("dog/1.png", ("dog",)),
    ]
    assert source.images(0)[0].size == (8, 8)


def test_a_folder_without_class_folders_is_refused(folder: Path):
    with pytest.raises(DataError, match="no folder in it has images"):
        open_folders(folder)


def test_a_table_of_paths_and_labels_is_read_as_pairs(folder: Path):
    (folder / "labels.csv").write_text("label,path\ncat,0.png\n")
    source = open_source(source_of_file(folder / "labels.csv", "pairs"), "pairs")
    assert (source.item(0).image_key, source.item(0).text) == ("0.png", "cat")
