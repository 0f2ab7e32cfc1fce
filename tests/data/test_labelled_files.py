"""NLVR2's and SNLI-VE's published lines, ALBEF's lists, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from cbalign.data.items import Premise, Statement
from cbalign.data.nlvr2 import open_nlvr2
from cbalign.data.sections.pairs import CsvSource, JsonSource, ShardSource
from cbalign.data.snli_ve import open_snli_ve
from cbalign.errors import DataError

# One line of each published file, shortened by fields that nothing reads.
NLVR2_TRAIN = {
    "identifier": "train-10171-0-1",
    "sentence": "There is at least one tan dog.",
    "label": "True",
    "directory": 27,
}
NLVR2_DEV = {"identifier": "dev-850-3-0", "sentence": "Two dogs sleep.", "label": "False"}
SNLI_VE = {
    "Flickr30K_ID": "4705552913",
    "gold_label": "neutral",
    "pairID": "4705552913.jpg#2r1n",
    "sentence1": "Two women are hugging.",
    "sentence2": "The sisters are hugging goodbye.",
}


def lines(path: Path, *entries: object) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def listed(path: Path, *entries: object) -> Path:
    path.write_text(json.dumps(entries))
    return path


def test_published_statements_name_their_images_by_identifier(tmp_path: Path):
    source = open_nlvr2([lines(tmp_path / "nlvr2.jsonl", NLVR2_TRAIN, NLVR2_DEV)], tmp_path)
    assert source.item(0) == Statement(
        "train-10171-0-1",
        ("27/train-10171-0-img0.png", "27/train-10171-0-img1.png"),
        "There is at least one tan dog.",
        True,
        "train-10171--1",
    )
    assert source.item(1).image_keys == ("dev-850-3-img0.png", "dev-850-3-img1.png")
    assert source.item(1).label is False


def test_images_may_lie_in_folders_of_the_splits(tmp_path: Path):
    (tmp_path / "train").mkdir()
    source = open_nlvr2([lines(tmp_path / "nlvr2.jsonl", NLVR2_TRAIN, NLVR2_DEV)], tmp_path)
    assert source.item(0).image_keys[0] == "train/27/train-10171-0-img0.png"
    assert source.item(1).image_keys[0] == "dev-850-3-img0.png"


def test_statements_of_a_set_share_a_group_whatever_their_pair(tmp_path: Path):
    names = ("dev-850-0-0", "dev-850-1-0", "dev-850-0-1", "dev-851-0-0")
    entries = [{**NLVR2_DEV, "identifier": name} for name in names]
    source = open_nlvr2([lines(tmp_path / "nlvr2.jsonl", *entries)], tmp_path)
    groups = [source.item(i).group for i in range(4)]
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3


def test_albefs_statements_list_both_images(tmp_path: Path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "b.png")
    entry = {"images": ["a.png", "b.png"], "sentence": "left is red", "label": "True"}
    source = open_nlvr2([listed(tmp_path / "list.json", entry)], tmp_path)
    left, right = source.images(0)
    assert (left.getpixel((0, 0)), right.getpixel((0, 0))) == ((255, 0, 0), (0, 0, 255))
    assert source.item(0).group == "left is red"
    assert source.read(0)[1] == (tmp_path / "b.png").read_bytes()


def test_a_statement_may_keep_its_label_secret(tmp_path: Path):
    entry = {key: value for key, value in NLVR2_DEV.items() if key != "label"}
    assert open_nlvr2([lines(tmp_path / "test.jsonl", entry)], tmp_path).item(0).label is None


def test_published_and_albefs_premises_name_flickr_images(tmp_path: Path):
    albef = {"image": "4705552913", "sentence": "The sisters are hugging goodbye.", "label": "neutral"}
    published = open_snli_ve([lines(tmp_path / "ve.jsonl", SNLI_VE)], tmp_path).item(0)
    assert published == Premise("4705552913.jpg#2r1n", "4705552913.jpg", "The sisters are hugging goodbye.", "neutral")
    other = open_snli_ve([listed(tmp_path / "ve.json", albef)], tmp_path).item(0)
    assert (other.image_key, other.text, other.label) == (published.image_key, published.text, published.label)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({**SNLI_VE, "gold_label": "-"}, "entry 2: field gold_label: '-' is none of contradiction, neutral"),
        ({**SNLI_VE, "sentence2": 3}, "entry 2: field sentence2: expected a text, found 3"),
        ({"image": "1", "label": "neutral"}, "entry 2: no field sentence"),
        ({**SNLI_VE, "Flickr30K_ID": "../x"}, r"entry 2: image '../x.jpg' is not inside the root"),
    ],
)
def test_a_wrong_premise_is_named_by_file_entry_and_field(entry: object, told: str, tmp_path: Path):
    with pytest.raises(DataError, match=r"ve\.jsonl, ") as raised:
        open_snli_ve([lines(tmp_path / "ve.jsonl", SNLI_VE, entry)], tmp_path)
    assert told in raised.value.message


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"images": ["a.png"], "sentence": "x", "label": "True"}, "entry 2: 1 images, expected 2"),
        ({"images": "a.png", "sentence": "x", "label": "True"}, "entry 2: field images: expected two paths"),
        ({**NLVR2_DEV, "label": "maybe"}, "entry 2: field label: 'maybe' is none of False, True"),
        ({**NLVR2_DEV, "identifier": "dev-1"}, "entry 2: field identifier: expected split-set-pair-sentence"),
    ],
)
def test_a_wrong_statement_is_named_by_file_entry_and_field(entry: object, told: str, tmp_path: Path):
    with pytest.raises(DataError) as raised:
        open_nlvr2([lines(tmp_path / "nlvr2.jsonl", NLVR2_DEV, entry)], tmp_path)
    assert told in raised.value.message


@pytest.mark.parametrize(
    ("section", "names"),
    [
        (JsonSource(source="json", files=("/d/coco_train.json", "/d/vg.json")), ("coco", "vg")),
        (JsonSource(source="json", files=("coco_test.json",)), ("coco",)),
        (JsonSource(source="json", files=("cc3m_train.json", "cc3m_val.json")), ("cc3m",)),
        (CsvSource(source="csv", files=("train.csv",)), ("train",)),
        (ShardSource(source="webdataset", shards=("/d/sbu-{00000..00099}.tar",)), ("sbu",)),
    ],
)
def test_splits_of_one_data_set_share_its_name(section: JsonSource, names: tuple[str, ...]):
    assert section.data_sets() == names
