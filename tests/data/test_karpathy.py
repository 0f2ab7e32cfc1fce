from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from cbalign.data.karpathy import open_karpathy
from cbalign.data.pairs import PairFiles
from cbalign.data.sections.pairs import KarpathySource
from cbalign.data.source import gallery, open_source
from cbalign.errors import DataError
from cbalign.parts.kinds import Split


def image(name: str, split: str, captions: list[str], **more: object) -> dict[str, object]:
    sentences = [{"raw": caption, "tokens": caption.lower().split()} for caption in captions]
    return {"filename": name, "split": split, "sentences": sentences, "imgid": 0} | more


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    (tmp_path / "val2014").mkdir()
    Image.new("RGB", (3, 2), "red").save(tmp_path / "val2014" / "b.jpg")
    images = [
        image("a.jpg", "train", ["A dog.", "Dogs!"], filepath="train2014"),
        image("b.jpg", "test", ["A cat.", "Cats!"], filepath="val2014"),
        image("c.jpg", "restval", ["A bird."], filepath="val2014"),
        image("d.jpg", "val", ["A fish."], filepath="val2014"),
    ]
    path = tmp_path / "dataset_coco.json"
    path.write_text(json.dumps({"version": 1.5, "dataset": "coco", "images": images, "more": 5}))
    return path


def captions(source: PairFiles) -> list[tuple[str, ...]]:
    return [source.item(i).captions for i in range(len(source))]


@pytest.mark.parametrize(
    ("split", "expected"),
    [("train", ["A dog.", "Dogs!", "A bird."]), ("validation", ["A fish."]), ("test", ["A cat.", "Cats!"])],
)
def test_each_split_holds_its_captions_and_train_takes_in_restval(coco: Path, split: Split, expected: list[str]):
    source = open_karpathy(coco, coco.parent, split=split, entries="captions")
    assert captions(source) == [(caption,) for caption in expected]


def test_captions_of_an_image_share_its_id_and_meet_in_the_gallery(coco: Path):
    found = gallery(open_karpathy(coco, coco.parent, split="train", entries="captions"))
    assert found.image_entries.tolist() == [0, 2]
    assert found.caption_image.tolist() == [0, 0, 1]


def test_an_entry_for_each_image_has_all_its_captions(coco: Path):
    source = open_karpathy(coco, coco.parent, split="train", entries="images")
    assert captions(source) == [("A dog.", "Dogs!"), ("A bird.",)]


def test_section_opens_the_split_and_finds_images_in_their_folder(coco: Path):
    section = KarpathySource(source="karpathy", file=str(coco), root=str(coco.parent), split="test")
    assert open_source(section, "pairs").images(1)[0].size == (3, 2)


def test_flickr_has_no_folders(tmp_path: Path):
    (tmp_path / "f.json").write_text(json.dumps({"images": [image("1.jpg", "val", ["x"])], "dataset": "flickr30k"}))
    source = open_karpathy(tmp_path / "f.json", tmp_path, split="validation", entries="captions")
    assert source.item(0).image_key == "1.jpg"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected an object with the field images, found the end of the file"),
        ("[]", "expected an object with the field images"),
        ("{}", "no field images"),
        ('{"dataset": "coco"}', "no field images"),
        ('{"images": 5}', r"expected '\['"),
        ('{"images" 5}', "expected ':'"),
        ('{"a": 1 "images": []}', "expected ','"),
        ('{"images": []}', "no images of the split test"),
        ('{"images": [{"filename": "a"}]}', "entry 1: field split"),
        ('{"images": [{"split": "test"}]}', "entry 1: field filename"),
        ('{"images": [{"split": "test", "filename": "a"}]}', "entry 1: field sentences"),
        ('{"images": [{"split": "test", "filename": "a", "sentences": ["x"]}]}', "entry 1: field sentences.*raw"),
        ('{"images": [{"split": "test", "filename": "../a", "sentences": [{"raw": "x"}]}]}', "entry 1.*root"),
    ],
)
def test_malformed_files_are_one_message_with_entry_and_field(tmp_path: Path, content: str, message: str):
    (tmp_path / "f.json").write_text(content)
    with pytest.raises(DataError, match=rf"f\.json.*{message}"):
        open_karpathy(tmp_path / "f.json", tmp_path, split="test", entries="captions")
