"""Files as other tools write them: img2dataset, COCO's and Flickr's splits, ALBEF's lists, spreadsheets, Windows."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from cbalign.data.csv_pairs import open_csv
from cbalign.data.items import Pair
from cbalign.data.json_pairs import open_json
from cbalign.data.karpathy import open_karpathy
from cbalign.data.shards import Shards
from cbalign.data.source import Source, gallery
from cbalign.errors import DataError, MissingImageError


def picture(colour: str, format: str = "JPEG", mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 8), colour).convert(mode).save(buffer, format)
    return buffer.getvalue()


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def captions(source: Source[Pair]) -> list[tuple[str, ...]]:
    return [source.item(i).captions for i in range(len(source))]


def img2dataset(folder: Path, shard: int, rows: list[tuple[str | None, str | None]]) -> None:
    """A shard as img2dataset's webdataset writer leaves it: (colour or None for a failed download, caption)."""
    counts: dict[str, int] = {}
    with tarfile.open(folder / f"{shard:05d}.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for number, (colour, caption) in enumerate(rows):
            key = f"{shard:05d}{number:04d}"
            meta = {
                "url": f"https://example.com/{key}?a=1&b=\u00e9",
                "caption": caption,
                "key": key,
                "status": "success" if colour else "failed_to_download",
                "error_message": None if colour else "HTTP Error 404: Not Found",
                "width": 12,
                "height": 8,
                "similarity": float("nan"),
                "exif": json.dumps({"Image Make": "x", "caption": ["not", "this"]}),
                "sha256": "0" * 64,
            }
            counts[meta["status"]] = counts.get(meta["status"], 0) + 1
            if colour is None:
                continue
            members = {
                "jpg": picture(colour),
                "txt": (caption or "").encode(),
                "json": json.dumps(meta, indent=4).encode(),
            }
            for extension in sorted(members):
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size, info.mtime, info.mode, info.uname = len(members[extension]), 1700000000.25, 0o444, "bigdata"
                tar.addfile(info, io.BytesIO(members[extension]))
    (folder / f"{shard:05d}_stats.json").write_text(json.dumps({"count": len(rows), "status_dict": counts}))
    (folder / f"{shard:05d}.parquet").write_bytes(b"PAR1")


def test_shards_of_img2dataset_with_failed_downloads_and_empty_captions(tmp_path: Path):
    img2dataset(tmp_path, 0, [("red", "A red thing, “quoted”"), (None, "gone"), ("blue", "")])
    img2dataset(tmp_path, 1, [(None, None), ("green", None)])
    source = Shards([str(tmp_path / "{00000..00001}.tar")])
    assert [source.item(i) for i in range(len(source))] == [
        Pair("00000.tar/000000000", ("A red thing, “quoted”",), 0),
        Pair("00000.tar/000000002", ("",), 1),
        Pair("00001.tar/000010001", ("",), 2),
    ]
    assert source.images(1)[0].size == (12, 8)
    assert source.read(1)[0] == picture("blue")


def test_a_shard_packed_by_tar_on_a_mac(tmp_path: Path):
    for name, content in {
        "0001.JPG": picture("red"),
        "0001.txt": "\ufeffein Bär\r\n".encode(),
        "._0001.JPG": b"\0",
    }.items():
        put(tmp_path / "folder" / name, content)
    put(tmp_path / "folder" / ".DS_Store", b"\0")
    subprocess.run(["tar", "--sort=name", "-cf", tmp_path / "x.tar", "-C", tmp_path / "folder", "."], check=True)
    assert captions(Shards([str(tmp_path / "x.tar")])) == [("ein Bär",)]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """COCO's splits with the oddities of the real ones: grey, CMYK and misnamed images, stray white space."""
    odd = {
        "train2014/COCO_train2014_000000000009.jpg": picture("red", mode="L"),
        "val2014/COCO_val2014_000000000042.jpg": picture("red", mode="CMYK"),
        "val2014/COCO_val2014_000000000073.jpg": picture("red", format="PNG"),
    }
    said = ["A motorcycle parked in a garage. ", "\nTwo bikes", "A café's  bike", "bikes\n", "x", "A sixth caption"]
    images = []
    for number, (path, split) in enumerate(zip(odd, ["train", "restval", "test"])):
        put(tmp_path / path, odd[path])
        sentences = [
            {"tokens": text.lower().split(), "raw": text, "imgid": number, "sentid": 10 * number + i}
            for i, text in enumerate(said[: 5 + number])
        ]
        folder, name = path.split("/")
        images.append(
            {"filepath": folder, "sentids": [s["sentid"] for s in sentences], "filename": name, "imgid": number}
            | {"split": split, "sentences": sentences, "cocoid": int(name[-16:-4])}
        )
    path = tmp_path / "dataset_coco.json"
    path.write_text(json.dumps({"images": images, "dataset": "coco"}))
    return path


def test_coco_counts_its_captions_and_opens_its_odd_images(coco: Path):
    train = open_karpathy(coco, coco.parent, split="train", entries="captions")
    assert (len(train), len(gallery(train).image_entries)) == (5 + 6, 2)
    assert train.item(0).captions == ("A motorcycle parked in a garage. ",)
    assert {train.images(i)[0].mode for i in (0, 5)} == {"RGB"}
    test = open_karpathy(coco, coco.parent, split="test", entries="images")
    assert len(test.item(0).captions) == 6
    assert test.images(0)[0].getpixel((0, 0)) == (255, 0, 0)


def test_karpathys_file_under_another_source_names_the_right_one(coco: Path):
    with pytest.raises(DataError, match=r"no field image \(fields: images, dataset\)(?s:.*)source: karpathy"):
        open_json([coco], coco.parent)


def test_albefs_pretraining_lists_with_absolute_paths(tmp_path: Path):
    place = put(tmp_path / "export" / "coco" / "a.jpg", picture("red"))
    vg = put(tmp_path / "export" / "vg" / "a.jpg", picture("blue"))
    lists = [
        [{"image": str(place), "caption": "a"}, {"image": str(place), "caption": ["b", "c"]}],
        [{"image": str(vg), "caption": "d"}],
    ]
    files = [put(tmp_path / f"{i}.json", json.dumps(entries).encode()) for i, entries in enumerate(lists)]
    for root in (tmp_path / "export", "/"):
        source = open_json(files, root)
        assert captions(source) == [("a",), ("b", "c"), ("d",)]
        assert [source.item(i).image_id for i in range(3)] == [0, 0, 1]
        assert source.images(2)[0].size == (12, 8)
    with pytest.raises(DataError, match=r"1\.json, entry 1: image .*vg/a\.jpg' is not inside the root"):
        open_json(files, tmp_path / "export" / "coco")


def test_albefs_retrieval_lists(tmp_path: Path):
    train = [
        {"caption": "a", "image": "val2014/COCO_val2014_000000522418.jpg", "image_id": "coco_522418"},
        {"caption": "b", "image": "val2014/COCO_val2014_000000522418.jpg", "image_id": "coco_522418"},
        {"caption": "c", "image": "train2014/x.jpg", "image_id": 318219},
    ]
    test = [{"image": "val2014/x.jpg", "caption": [f"{i}" for i in range(5)]}, {"image": "y.jpg", "caption": ["z"] * 6}]
    source = open_json([put(tmp_path / "coco_train.json", json.dumps(train).encode())], tmp_path)
    assert [source.item(i).image_id for i in range(3)] == [0, 0, 1]
    found = gallery(open_json([put(tmp_path / "coco_test.json", json.dumps(test).encode())], tmp_path))
    assert found.caption_image.tolist() == [0] * 5 + [1] * 6


def test_a_list_written_on_windows(tmp_path: Path):
    put(tmp_path / "bilder" / "bär.png", picture("red", "PNG"))
    entries = [{"image": "bilder\\bär.png", "caption": "ein Bär"}, {"image": "..\\..\\secret.png", "caption": "-"}]
    text = json.dumps(entries, indent=2, ensure_ascii=False).replace("\n", "\r\n")
    source = open_json([put(tmp_path / "list.json", text.encode("utf-8-sig"))], tmp_path / "bilder" / "..")
    assert source.images(0)[0].getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(DataError, match="outside the root"):
        source.images(1)[0]


def test_a_backslash_that_belongs_to_a_name_is_left_alone(tmp_path: Path):
    put(tmp_path / "a\\b.png", picture("red", "PNG"))
    put(tmp_path / "a" / "b.png", picture("blue", "PNG"))
    source = open_json(
        [put(tmp_path / "l.json", json.dumps([{"image": "a\\b.png", "caption": ""}]).encode())], tmp_path
    )
    assert source.images(0)[0].getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_one_message_with_the_remedy(tmp_path: Path, encoding: str):
    listed = put(tmp_path / "l.json", '[{"image": "é.png", "caption": "é"}]'.encode(encoding))
    table = put(tmp_path / "l.csv", "image,caption\né.png,é\n".encode(encoding))
    for name, reading in {
        "l.json": lambda: open_json([listed], tmp_path),
        "l.csv": lambda: open_csv([table], tmp_path, image="image", caption="caption", delimiter=","),
    }.items():
        with pytest.raises(DataError, match=f"{name}: not UTF-8(?s:.*)Save the file as UTF-8"):
            reading()


def test_a_spreadsheets_csv_with_line_ends_of_windows_and_quoted_lines(tmp_path: Path):
    buffer = io.StringIO()
    rows = csv.writer(buffer, dialect="excel", delimiter=";")
    rows.writerows([["Nr", "image", "caption"], [1, "a b.png", 'say "hi"; now'], [2, "日本.png", "two\r\nlines"]])
    path = put(tmp_path / "export.csv", buffer.getvalue().encode("utf-8-sig"))
    source = open_csv([path], tmp_path, image="image", caption="caption", delimiter=";")
    assert captions(source) == [('say "hi"; now',), ("two\r\nlines",)]
    assert source.item(1).image_key == "日本.png"
    with pytest.raises(MissingImageError, match=r"export\.csv, line 4: image 日本\.png: no such image"):
        source.images(1)[0]


def test_a_table_without_quoting_says_how_quotes_are_written(tmp_path: Path):
    path = put(tmp_path / "cc3m.tsv", b'caption\timage\n"hello" he said\ta.png\n')
    with pytest.raises(DataError, match=r"line 2: not valid CSV(?s:.*)doubled"):
        open_csv([path], tmp_path, image="image", caption="caption", delimiter="\t")
