from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from cbalign.data.items import Pair
from cbalign.data.sections.pairs import ShardSource
from cbalign.data.shards import Shards
from cbalign.data.source import open_source
from cbalign.errors import DataError


def jpg(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


def shard(path: Path, members: dict[str, bytes | str], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_a_range_that_runs_backwards_is_a_data_error():
    with pytest.raises(DataError, match=r"\{3\.\.1\} is descending"):
        Shards(["{3..1}.tar"])


def test_samples_of_all_shards_in_order_with_captions_from_txt_or_json(tmp_path: Path):
    shard(
        tmp_path / "0.tar",
        {
            "d/000.jpg": jpg("red"),
            "d/000.txt": "a red square\n",
            "d/000.json": json.dumps({"caption": "not this", "width": 8}),
            "d/001.json": json.dumps({"caption": ["one", "two"]}),
            "d/001.png": jpg("blue"),
        },
    )
    shard(tmp_path / "1.tar", {"x.y.txt": "green", "x.jpg": jpg("green"), "x.cls": "5", "x.txt": "a green one"})
    source = Shards([str(tmp_path / "{0..1}.tar")])
    assert [source.item(i) for i in range(len(source))] == [
        Pair("0.tar/d/000", ("a red square",), 0),
        Pair("0.tar/d/001", ("one", "two"), 1),
        Pair("1.tar/x", ("a green one",), 2),
    ]
    colours = [source.images(i)[0].getpixel((4, 4)) for i in (2, 0, 1)]
    assert colours == [(0, 128, 0), (255, 0, 0), (0, 0, 255)]


def test_samples_with_one_image_id_show_one_image_within_a_folder(tmp_path: Path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        for number, image_id in enumerate([7, "7", 7, None]):
            described = json.dumps({"caption": "c", "image_id": image_id})
            shard(tmp_path / folder / f"{number}.tar", {"a.jpg": jpg("red"), "a.json": described})
    source = Shards([str(tmp_path / folder / "{0..3}.tar") for folder in ("x", "y")])
    assert [source.item(i).image_id for i in range(8)] == [0, 1, 0, 2, 3, 4, 3, 5]


def test_a_sample_can_hold_several_entries_of_one_image(tmp_path: Path):
    described = json.dumps({"caption": ["a", "b", "c"], "captions_per_entry": [1, 2]})
    shard(tmp_path / "0.tar", {"k.json": described, "k.png": jpg("red"), "k.txt": "for other readers"})
    source = Shards([str(tmp_path / "0.tar")])
    assert [source.item(i) for i in range(2)] == [Pair("0.tar/k", ("a",), 0), Pair("0.tar/k", ("b", "c"), 0)]
    assert source.images(1)[0].getpixel((0, 0)) == (255, 0, 0)


def test_section_opens_the_shards(tmp_path: Path):
    shard(tmp_path / "0.tar", {"a.jpg": jpg("red"), "a.txt": "x"})
    source = open_source(ShardSource(source="webdataset", shards=(str(tmp_path / "{0..0}.tar"),)), "pairs")
    assert len(source) == 1


def test_long_names_are_read(tmp_path: Path):
    key = "folder/" * 40 + "name"
    shard(tmp_path / "0.tar", {f"{key}.jpg": jpg("red"), f"{key}.txt": "x"})
    assert Shards([str(tmp_path / "0.tar")]).item(0).image_key == f"0.tar/{key}"


def test_corrupt_image_names_shard_and_sample_when_loaded(tmp_path: Path):
    shard(tmp_path / "0.tar", {"a.jpg": b"no image", "a.txt": "x"})
    with pytest.raises(DataError, match=r"0\.tar, sample a: not an image"):
        Shards([str(tmp_path / "0.tar")]).images(0)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.txt": "x"}, "sample a: no image"),
        ({"a.jpg": b""}, "sample a: no caption"),
        ({"a.jpg": b"", "a.json": "{"}, r"sample a: its \.json is not valid"),
        ({"a.jpg": b"", "a.json": '{"caption": [1]}'}, "sample a: field caption"),
        ({"a.jpg": b"", "a.json": "[]"}, "sample a: no caption"),
        ({"a.jpg": b"", "a.json": '{"caption": 5}'}, "sample a: field caption"),
        (
            {"a.jpg": b"", "a.json": '{"caption": ["x"], "captions_per_entry": [2]}'},
            "sample a: field captions_per_entry",
        ),
        ({"a.jpg": b"", "b.jpg": b"", "a.txt": "x"}, "sample a: no caption(?s:.*)follow one another"),
        ({}, "no samples"),
    ],
)
def test_incomplete_samples_are_one_message(tmp_path: Path, members: dict[str, bytes | str], message: str):
    shard(tmp_path / "0.tar", members)
    with pytest.raises(DataError, match=rf"0\.tar.*{message}"):
        Shards([str(tmp_path / "0.tar")])


def test_missing_truncated_and_compressed_shards_are_data_errors(tmp_path: Path):
    with pytest.raises(DataError, match=r"none\.tar: cannot be read"):
        Shards([str(tmp_path / "none.tar")])
    members: dict[str, bytes | str] = {"a.jpg": jpg("red"), "a.txt": "x", "b.jpg": bytes(4000), "b.txt": "x"}
    whole = shard(tmp_path / "whole.tar", members).read_bytes()
    (tmp_path / "half.tar").write_bytes(whole[:4000])
    with pytest.raises(DataError, match=r"half\.tar: not an intact tar file"):
        Shards([str(tmp_path / "half.tar")])
    shard(tmp_path / "0.tar.gz", members, "w:gz")
    with pytest.raises(DataError, match=r"(?s)0\.tar\.gz: not an intact tar file.*uncompressed"):
        Shards([str(tmp_path / "0.tar.gz")])
