"""`cbalign init` on folders of real files."""

import csv
import io
import json
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from cbalign.cli import main
from cbalign.data.source import open_source
from cbalign.experiment.load import load_experiment


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*arguments):
    return CliRunner().invoke(main, ["init", *arguments])


def image(path, side=40):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side + 9, side), "red").save(path)


def table(path, rows, delimiter=","):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def in_csv():
    for name in "abc":
        image(f"pets/pictures/{name}.png")
    head = ["FilePath", "title", "other"]
    table("pets/train.tsv", [head, ["a.png", "one two three", 1], ["b.png", "red", 2]], "\t")
    table("pets/dev.tsv", [head, ["c.png", "four", 1]], "\t")


def in_json():
    image("pets/images/a.png")
    for name, caption in (("coco", ["x", "y"]), ("vg", "z")):
        Path(f"pets/{name}.json").write_text(json.dumps([{"image": "images/a.png", "caption": caption}]))


def in_karpathy():
    image("pets/val2014/a.png")
    splits = ("restval", "val", "test")
    images = [
        {"filepath": "val2014", "filename": "a.png", "split": split, "sentences": [{"raw": "hello"}]}
        for split in splits
    ]
    Path("pets/dataset_coco.json").write_text(json.dumps({"dataset": "coco", "images": images}))


def in_shards():
    Path("pets").mkdir()
    for number in range(8, 12):
        with tarfile.open(f"pets/{number:04d}.tar", "w") as tar:
            picture = io.BytesIO()
            Image.new("RGB", (50, 30)).save(picture, "PNG")
            for name, content in ((f"{number}.png", picture.getvalue()), (f"{number}.txt", b"a dog")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    ("make", "entries"),
    [
        (in_csv, {"train": 2, "validation": 1}),
        (in_json, {"train": 2}),
        (in_karpathy, {"train": 1, "validation": 1, "test": 1}),
        (in_shards, {"train": 4}),
    ],
)
def test_the_spec_is_valid_and_its_sources_read_what_was_found(make, entries):
    make()
    result = init("pets")
    assert (result.exit_code, result.stdout) == (0, "pets.yaml\n")
    data = load_experiment("pets.yaml").experiment.data
    sources = {split: getattr(data, split) for split in ("train", "validation", "test")}
    assert {split: len(open_source(source, "pairs")) for split, source in sources.items() if source} == entries


def test_the_spec_says_what_was_found_names_its_schema_and_no_path_of_this_machine(folder):
    in_csv()
    init("pets", "--output", "mine.yaml")
    text = Path("mine.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=.cbalign/experiment.json\n")
    assert json.loads(Path(".cbalign/experiment.json").read_text())["title"] == "cbalign experiment"
    assert "#   train: train.tsv: 2 captions of 2 images" in text
    assert "files: [pets/train.tsv]" in text
    assert str(folder) not in text


def test_shards_without_a_gap_become_one_pattern():
    in_shards()
    init("pets")
    assert "shards: ['pets/{0008..0011}.tar']" in Path("pets.yaml").read_text()
    Path("pets/0009.tar").unlink()
    init("pets", "--force")
    assert "shards: [pets/0008.tar, pets/0010.tar, pets/0011.tar]" in Path("pets.yaml").read_text()


def test_the_larger_of_two_sources_is_taken_and_the_other_named():
    in_csv()
    image("pets/more/x.png")
    table("pets/more/all.csv", [["image", "caption"], *[["x.png", str(n)] for n in range(5)]])
    result = init("pets")
    assert "files: [pets/more/all.csv]" in Path("pets.yaml").read_text()
    assert "not used, smaller: train.tsv" in result.stderr


def test_json_is_one_document():
    in_json()
    document = json.loads(init("pets", "--json").stdout)
    assert (document["spec"], document["found"][0]["entries"]) == ("pets.yaml", 2)


def broken():
    table("pets/a.csv", [["image", "caption"], ["gone.png", "hi"]])
    table("pets/b.csv", [["x", "y"], [1, 2]])
    Path("pets/c.json").write_text("[{")
    Path("pets/d.json").write_text('[{"image": "a.png", "question": "?"}]')
    Path("pets/e.json").write_text('{"a": 1}')
    Path("pets/f.tar").write_text("no tar")
    Path("pets/g.csv").write_bytes(b"\xff\xfe\x00")
    image("pets/h.png")
    Path("pets/h.txt").write_text("a dog")


def test_what_cannot_be_used_is_one_message_with_the_reasons_and_nothing_is_written():
    broken()
    result = init("pets")
    assert result.exit_code == 3
    for reason in (
        "a.csv: no image gone.png below pets",
        "b.csv: its header (x, y) has no column of images",
        "c.json, entry 1",
        "d.json: a list of objects with image, question, without image and caption",
        "e.json: neither a list",
        "f.tar: not an intact tar file",
        "g.csv: cannot be read as CSV",
        "1 image has a .txt file of the same name",
    ):
        assert reason in result.stderr
    assert not Path("pets.yaml").exists()
    assert not Path(".cbalign").exists()


def test_an_empty_folder_no_folder_and_a_spec_that_exists_are_said_to_be_that():
    Path("empty").mkdir()
    assert "empty: no data that a source can read." in init("empty").stderr
    assert (init("nowhere").exit_code, init("empty").exit_code) == (2, 3)
    in_json()
    Path("pets.yaml").write_text("mine")
    assert init("pets").exit_code == 2
    assert Path("pets.yaml").read_text() == "mine"
