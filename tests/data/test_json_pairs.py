from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cbalign.data.files import PackedText
from cbalign.data.items import Pair
from cbalign.data.json_pairs import open_json
from cbalign.data.json_stream import stream_objects
from cbalign.data.pairs import PairFiles
from cbalign.data.sections.pairs import JsonSource
from cbalign.data.source import gallery, open_source
from cbalign.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for name, colour in [("a.png", "red"), ("b.png", "green"), ("sub/c.png", "blue")]:
        Image.new("RGB", (4, 4), colour).save(folder / name)
    return folder


def written(root: Path, entries: object, name: str = "list.json") -> Path:
    path = root.parent / name
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries), encoding="utf-8")
    return path


def opened(root: Path, entries: object) -> PairFiles:
    return open_json([written(root, entries)], root)


def test_captions_are_a_text_or_a_list(root: Path):
    source = opened(root, [{"image": "a.png", "caption": "one"}, {"image": "b.png", "caption": ["two", "three"]}])
    assert [source.item(i) for i in range(2)] == [Pair("a.png", ("one",), 0), Pair("b.png", ("two", "three"), 1)]


def test_files_follow_one_another_and_share_images(root: Path):
    first = written(root, [{"image": "a.png", "caption": "1"}, {"image": "b.png", "caption": "2"}], "1.json")
    second = written(root, [{"image": "b.png", "caption": "3"}, {"image": "sub/c.png", "caption": "4"}], "2.json")
    source = open_json([first, second], root)
    assert [source.item(i).image_id for i in range(4)] == [0, 1, 1, 2]


def test_image_id_decides_which_entries_show_one_image(root: Path):
    entries = [("a.png", "x"), ("b.png", 7), ("sub/c.png", "x"), ("a.png", "7"), ("a.png", None)]
    source = opened(root, [{"image": image, "caption": "-", "image_id": known} for image, known in entries])
    assert [source.item(i).image_id for i in range(5)] == [0, 1, 0, 2, 3]


def test_one_number_in_two_files_is_one_image_only_where_the_path_agrees(root: Path):
    coco = [{"image": "a.png", "caption": "-", "image_id": 42}, {"image": "b.png", "caption": "-", "image_id": 43}]
    genome = [{"image": "sub/c.png", "caption": "-", "image_id": 42}, {"image": "b.png", "caption": "-"}]
    german = [{"image": "b.png", "caption": "-", "image_id": 43}, {"image": "a.png", "caption": "-", "image_id": 42}]
    files = [written(root, entries, f"{i}.json") for i, entries in enumerate([coco, genome, german])]
    source = open_json(files, root)
    assert [source.item(i).image_id for i in range(len(source))] == [0, 1, 2, 3, 1, 0]


def test_gallery_shows_an_image_once_with_the_captions_of_all_its_entries(root: Path):
    images = ["b.png", "a.png", "b.png"]
    found = gallery(opened(root, [{"image": image, "caption": [f"{i}", f"{i}+"]} for i, image in enumerate(images)]))
    assert found.image_entries.tolist() == [0, 1]
    assert found.captions == ("0", "0+", "1", "1+", "2", "2+")
    assert found.caption_image.tolist() == [0, 0, 1, 1, 0, 0]


def test_images_load_relative_to_the_root_or_absolute_below_it(root: Path):
    source = opened(
        root, [{"image": "sub/c.png", "caption": ""}, {"image": str(root / "sub" / "c.png"), "caption": ""}]
    )
    assert {source.images(i)[0].getpixel((0, 0)) for i in range(2)} == {(0, 0, 255)}


def test_section_opens_the_files(root: Path):
    path = written(root, [{"image": "a.png", "caption": "one"}])
    source = open_source(JsonSource(source="json", files=(str(path),), root=str(root)), "pairs")
    assert source.images(0)[0].getpixel((0, 0)) == (255, 0, 0)
    assert "1 captions of 1 images" in source.describe()


def test_json_lines_are_read_too(root: Path):
    source = opened(root, '{"image": "a.png", "caption": "x"}\n{"image": "b.png", "caption": "y"}\n\n')
    assert [source.item(i).captions[0] for i in range(2)] == ["x", "y"]


@pytest.mark.parametrize("image", ["../list.json", "sub/../../list.json", "/etc/passwd", "", "a\0.png", ".."])
def test_paths_cannot_leave_the_root(root: Path, image: str):
    with pytest.raises(DataError, match="entry 2"):
        opened(root, [{"image": "a.png", "caption": "x"}, {"image": image, "caption": "x"}])


def test_dots_inside_the_root_are_fine(root: Path):
    source = opened(root, [{"image": "sub/../a..png/../a.png", "caption": "x"}])
    assert source.images(0)[0].getpixel((0, 0)) == (255, 0, 0)


def test_links_out_of_the_root_are_refused_when_followed(root: Path):
    Image.new("RGB", (2, 2)).save(root.parent / "secret.png")
    (root / "link.png").symlink_to(root.parent / "secret.png")
    source = opened(root, [{"image": "link.png", "caption": "x"}])
    with pytest.raises(DataError, match=r"entry 1.*link\.png.*outside"):
        source.images(0)[0]


def test_a_root_that_is_a_link_itself_is_fine(root: Path):
    os.symlink(root, root.parent / "link")
    path = written(root, [{"image": "a.png", "caption": "x"}, {"image": f"{root.parent}/link/a.png", "caption": "x"}])
    source = open_json([path], root.parent / "link")
    assert {source.images(i)[0].size for i in range(2)} == {(4, 4)}


def test_missing_and_corrupt_images_name_file_and_entry(root: Path):
    (root / "b.png").write_bytes((root / "b.png").read_bytes()[:40])
    one = written(root, [{"image": "a.png", "caption": "x"}], "one.json")
    two = written(root, [{"image": "gone.png", "caption": "x"}, {"image": "b.png", "caption": "x"}], "two.json")
    source = open_json([one, two], root)
    with pytest.raises(DataError, match=r"two\.json, entry 1: image gone\.png: no such image"):
        source.images(1)[0]
    with pytest.raises(DataError, match=r"two\.json, entry 2: image b\.png: not an image"):
        source.images(2)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "file is empty"),
        ("[]", "no pairs"),
        ('{"images": []}', r"entry 1: no field image \(fields: images\)"),
        ('[{"image": "a.png"}]', "entry 1: no field caption"),
        ('[{"image": "a.png", "caption": "x"},\n{"image": 3, "caption": "x"}]', "entry 2: field image"),
        ('[{"image": "a.png", "caption": []}]', "entry 1: field caption"),
        ('[{"image": "a.png", "caption": null}]', "entry 1: field caption"),
        ('[{"image": "a.png", "caption": ["x", 5]}]', "entry 1: field caption: expected texts, found 5"),
        ('[{"image": "a.png", "caption": "x"}, 5]', "entry 2.*expected an object, found '5]'"),
        ('[{"image": "a.png", "caption": "x"},\n {"image": "a.png" "caption": "x"}]', r"entry 2 \(line 2\): not valid"),
        ('[{"image": "a.png", "caption": "x"}', "entry 1.*found the end of the file"),
        ('[{"image": "a.png", "caption": "x"},', "entry 2.*found the end of the file"),
        ('[{"image": "a.png", "caption": "x"}\n{"image": "b.png", "caption": "x"}]', "expected ',' or ']'"),
        ('[{"image": "a.png", "caption": "x"}] tail', "text after the end"),
        ("[" * 5 + "]" * 5, "expected an object"),
        ('[{"image": ' + "[" * 100_000, "not valid JSON|nested too deeply"),
        ('[{"image": "a.png", "image_id": ' + "9" * 5000 + "}]", "not valid JSON"),
        ("just text", "expected an object"),
    ],
)
def test_malformed_lists_are_one_message_with_file_entry_and_field(root: Path, content: str, message: str):
    with pytest.raises(DataError, match=rf"list\.json.*{message}"):
        opened(root, content)


def test_one_object_as_large_as_a_list_is_not_taken_for_broken_json(root: Path):
    path = written(root, '{"images": ["' + "x" * (1 << 26) + '"]}')
    with pytest.raises(DataError, match=r"one object of more than 16 MiB(?s:.*)source: karpathy"):
        open_json([path], root)


def test_bytes_that_are_no_text_are_a_data_error(root: Path):
    path = root.parent / "list.json"
    path.write_bytes(b'[{"image": "\xff\xfe"}]')
    with pytest.raises(DataError, match="not UTF-8"):
        open_json([path], root)


def test_missing_list_and_missing_root_are_data_errors(root: Path):
    with pytest.raises(DataError, match=r"none\.json: cannot be read"):
        open_json([root / "none.json"], root)
    with pytest.raises(DataError, match="no such folder"):
        open_json([written(root, [])], root / "nowhere")


@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=20) | st.integers() | st.none())),
    st.sampled_from([None, 1]),
)
def test_streaming_equals_reading_at_once(tmp_path_factory: pytest.TempPathFactory, objects: list, indent: int | None):
    path = tmp_path_factory.getbasetemp() / "stream.json"
    path.write_text(json.dumps(objects, indent=indent), encoding="utf-8")
    assert [value for _, value in stream_objects(path)] == objects


def test_streaming_crosses_block_borders(tmp_path: Path):
    objects = [{"text": "é" * (i * 997 % 5000), "n": [i, {"deep": "}]"}]} for i in range(2000)]
    path = tmp_path / "long.json"
    path.write_text(json.dumps(objects, ensure_ascii=False), encoding="utf-8-sig")
    assert path.stat().st_size > 3 << 20
    assert [value for _, value in stream_objects(path)] == objects


@given(st.lists(st.text()))
def test_packed_text_gives_back_every_string(texts: list[str]):
    packed = PackedText()
    for text in texts:
        packed.append(text)
    expected = [text.encode("utf-8", "replace").decode() for text in texts]
    assert [packed[i] for i in range(len(packed))] == expected
