from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from cbalign.data.csv_pairs import open_csv
from cbalign.data.items import Pair
from cbalign.data.pairs import PairFiles
from cbalign.data.sections.pairs import CsvSource
from cbalign.data.source import open_source
from cbalign.errors import DataError


def opened(folder: Path, content: str, *, delimiter: str = ",") -> PairFiles:
    path = folder / "pairs.csv"
    path.write_text(content, encoding="utf-8")
    return open_csv([path], folder, image="image", caption="caption", delimiter=delimiter)


def entries(source: PairFiles) -> list[Pair]:
    return [source.item(i) for i in range(len(source))]


def test_columns_are_found_by_name_and_equal_paths_are_one_image(tmp_path: Path):
    source = opened(tmp_path, 'id,caption,image\n1,"one, two",a.png\n2,three,b.png\n\n3,"four\nfive",a.png\n')
    assert entries(source) == [
        Pair("a.png", ("one, two",), 0),
        Pair("b.png", ("three",), 1),
        Pair("a.png", ("four\nfive",), 0),
    ]


def test_tabs_and_a_byte_order_mark_are_read(tmp_path: Path):
    assert entries(opened(tmp_path, "\ufeffimage\tcaption\na.png\tx, y\n", delimiter="\t")) == [
        Pair("a.png", ("x, y",), 0)
    ]


def test_section_opens_the_columns_it_names(tmp_path: Path):
    Image.new("RGB", (3, 2), "red").save(tmp_path / "a.png")
    (tmp_path / "x.tsv").write_text("file\ttext\na.png\thello\n")
    section = CsvSource(
        source="csv",
        files=(str(tmp_path / "x.tsv"),),
        root=str(tmp_path),
        image="file",
        caption="text",
        delimiter="\t",
    )
    source = open_source(section, "pairs")
    assert (source.item(0).captions, source.images(0)[0].size) == (("hello",), (3, 2))


def test_unreadable_image_names_its_line(tmp_path: Path):
    source = opened(tmp_path, "image,caption\n\ngone.png,x\n")
    with pytest.raises(DataError, match=r"pairs\.csv, line 3: image gone\.png: no such image"):
        source.images(0)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "file is empty"),
        ("image,caption\n", "no pairs"),
        ("image;caption\na;b\n", r"no column image in the header \(image;caption\)"),
        ("image,caption\na.png\n", "line 2: 1 columns, the header has 2"),
        ("image,caption\n,x\n", "line 2: column image is empty"),
        ("image,caption\n../a.png,x\n", r"line 2: image '\.\./a\.png' is not inside the root"),
        ('image,caption\na.png,"x"y\n', "line 2: not valid CSV"),
        ('image,caption\na.png,"x', "not valid CSV"),
    ],
)
def test_malformed_files_are_one_message_with_file_and_line(tmp_path: Path, content: str, message: str):
    with pytest.raises(DataError, match=rf"pairs\.csv.*{message}"):
        opened(tmp_path, content)


def test_bytes_that_are_no_text_are_a_data_error(tmp_path: Path):
    (tmp_path / "pairs.csv").write_bytes(b"image,caption\n\xff,x\n")
    with pytest.raises(DataError, match="not UTF-8"):
        open_csv([tmp_path / "pairs.csv"], tmp_path, image="image", caption="caption", delimiter=",")
