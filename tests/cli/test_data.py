"""`cbalign data`: what it says of good and damaged data, and that shards hold what was packed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cbalign.cli import main
from cbalign.data.items import Pair
from cbalign.data.shards import Shards
from cbalign.data.source import Source, open_source
from cbalign.experiment.load import load_experiment

SPEC = """\
cbalign: 1
name: small
model:
  vision: {architecture: vit_tiny_patch16_224, image_size: 32, patch_size: 16, layers: 1, width: 32, heads: 2,
           init: random}
  text: {architecture: bert-mini, layers: 1, width: 32, heads: 2, intermediate: 32, init: random,
         tokenizer: captions, vocabulary: 100, max_tokens: 8, max_words: 5}
  fusion: {layers: 1}
  joint_dim: 8
  codebook: {size: 6}
  queue: {length: 8}
data:
  train: {source: json, files: [train.json], root: images}
  validation: {source: csv, files: [validation.csv], root: images}
  test: {source: json, files: [test.json], root: images}
  corrupt_limit: 0
train: {duration: 1 epoch, batch_size: 2, precision: fp32, schedule: {warmup: 1 step}}
"""


def picture(path: Path, seed: int, size: tuple[int, int] = (40, 24)) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten images: 0 to 5 to train on, the first with three captions, 6 and 7 to validate, 8 and 9 to test."""
    monkeypatch.chdir(tmp_path)
    for i in range(10):
        picture(tmp_path / "images" / f"{i}.{'png' if i % 2 else 'jpg'}", i)
    listed = [(f"{i}.{'png' if i % 2 else 'jpg'}", f"a picture of number {i}") for i in range(10)]
    train = [{"image": image, "caption": text, "image_id": i} for i, (image, text) in enumerate(listed[:6])]
    more = [{"image": "0.jpg", "caption": text, "image_id": 0} for text in ("again", "and again")]
    (tmp_path / "train.json").write_text(json.dumps(train + more))
    (tmp_path / "validation.csv").write_text("image,caption\n" + "".join(f"{a},{b}\n" for a, b in listed[6:8]))
    (tmp_path / "test.json").write_text(json.dumps([{"image": a, "caption": [b, "x"]} for a, b in listed[8:]]))
    (tmp_path / "small.yaml").write_text(SPEC)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["data", *words], catch_exceptions=False)


def checked(*words: str) -> dict[str, Any]:
    return json.loads(run("check", "small.yaml", "--json", "--workers", "0", *words).stdout)


def relist(place: Path, name: str, change: Any) -> None:
    entries = json.loads((place / name).read_text())
    change(entries)
    (place / name).write_text(json.dumps(entries))


def test_good_data_are_counted(place: Path):
    result = run("check", "small.yaml", "--workers", "0")
    assert result.exit_code == 0
    assert "no problems" in result.stdout
    document = checked()
    train, test = document["splits"]["train"], document["splits"]["test"]
    assert (train["items"], train["images"], train["captions"]["count"]) == (8, 6, 8)
    assert train["captions_per_image"] | {"mean": 0} == {
        "count": 6, "least": 1, "mean": 0, "p5": 1, "p50": 1, "p95": 3, "p99": 3, "greatest": 3
    }  # fmt: skip
    assert (test["items"], test["images"], test["captions"]["count"]) == (2, 2, 4)
    assert [(s["first"], s["second"], s["images"]["count"]) for s in document["shared"]] == [
        ("train", "validation", 0), ("train", "test", 0), ("validation", "test", 0)
    ]  # fmt: skip


def test_missing_and_corrupt_images_are_told_apart_and_are_a_problem_beyond_the_limit(place: Path):
    (place / "images" / "1.png").unlink()
    (place / "images" / "0.jpg").write_bytes((place / "images" / "0.jpg").read_bytes()[:300])
    result = run("check", "small.yaml", "--workers", "0")
    assert result.exit_code == 1
    assert "missing in train: train.json, entry 2: image 1.png: no such image" in result.stdout.replace(f"{place}/", "")
    assert "problem: train: 4 of 8 items have unreadable images (1 missing, 1 corrupt), 0 are allowed" in result.stdout
    train = checked()["splits"]["train"]
    assert (train["missing"]["count"], train["corrupt"]["count"], train["unreadable_items"]) == (1, 1, 4)
    assert "entry 1: image 0.jpg: cannot be decoded" in train["corrupt"]["examples"][0]
    assert run("check", "small.yaml", "--workers", "0", "--set", "data.corrupt_limit=0.5").exit_code == 0
    assert run("check", "small.yaml", "--workers", "0", "--set", "data.corrupt_limit=0.4").exit_code == 1


def test_images_there_twice_are_found_by_their_pixels(place: Path):
    Image.open(place / "images" / "1.png").save(place / "images" / "copy.bmp")
    relist(place, "train.json", lambda entries: entries.append({"image": "copy.bmp", "caption": "copy"}))
    document = checked()
    assert document["splits"]["train"]["duplicates"] == {"count": 1, "examples": ["copy.bmp is 1.png"]}
    assert document["ok"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_images_of_train_in_an_evaluation_are_a_problem(place: Path, split: str):
    Image.open(place / "images" / "3.png").save(place / "images" / f"{'7' if split == 'validation' else '9'}.png")
    result = run("check", "small.yaml", "--workers", "0")
    assert result.exit_code == 1
    assert f"problem: {split}: 1 of its images are also in train" in result.stdout
    assert f"shared: {split} " in result.stdout
    assert run("check", "small.yaml", "--workers", "0", "--split", split).exit_code == 0


def test_images_that_validation_shares_with_test_are_told_but_no_failure(place: Path):
    Image.open(place / "images" / "7.png").save(place / "images" / "9.png")
    document = checked()
    assert document["shared"][2]["images"] == {"count": 1, "examples": ["test 9.png is validation 7.png"]}
    assert document["ok"]


def test_empty_and_long_captions_are_counted(place: Path):
    def change(entries: list[dict[str, object]]) -> None:
        entries[0]["caption"] = "?!"
        entries[1]["caption"] = "one two three four five six"

    relist(place, "train.json", change)
    captions = checked("--set", "model.text.max_tokens=4")["splits"]["train"]["captions"]
    assert captions["empty"] == {"count": 1, "examples": ["0.jpg: '?!'"]}
    assert captions["cut_by_max_words"] == 1
    assert captions["cut_by_max_tokens"] >= 5  # those of five words and more


def test_workers_find_the_same(place: Path):
    (place / "images" / "1.png").unlink()
    serial = checked()
    assert json.loads(run("check", "small.yaml", "--json", "--workers", "2").stdout) == serial


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda place: (place / "train.json").unlink(), "data.train: .*train.json: cannot be read"),
        (lambda place: (place / "validation.csv").write_text("path,text\n"), "data.validation: .*no column image"),
        (
            lambda place: (place / "test.json").write_text('[{"image": "8.jpg"}]'),
            "data.test: .*entry 1: no field caption",
        ),
        (
            lambda place: relist(place, "test.json", lambda entries: entries[1].update(image="../secret.png")),
            r"data.test: .*test.json, entry 2: image '\.\./secret\.png' is not inside the root",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["check", "stats"])
def test_a_list_that_cannot_be_read_is_one_message_and_exit_code_3(place: Path, change: Any, message: str, verb: str):
    change(place)
    result = run(verb, "small.yaml")
    assert result.exit_code == 3
    assert not result.stdout
    assert re.search(message, result.stderr)


def test_a_split_that_the_spec_lacks_is_a_mistake_of_usage(place: Path):
    result = run("check", "small.yaml", "--split", "test", "--set", "data.test=null")
    assert result.exit_code == 2
    assert "data.test is not set" in result.stderr


def test_statistics_of_captions_images_and_words(place: Path):
    picture(place / "images" / "8.jpg", 8, (100, 50))
    document = json.loads(run("stats", "small.yaml", "--json", "--workers", "0").stdout)["splits"]
    train, test = document["train"], document["test"]
    assert (train["words"]["count"], train["words"]["least"], train["words"]["greatest"]) == (8, 1, 5)
    assert train["words"]["mean"] == pytest.approx((6 * 5 + 1 + 2) / 8)
    assert train["tokens"]["least"] >= 2
    assert (train["vocabulary"]["occurrences"], train["vocabulary"]["unseen"]) == (33, None)
    assert train["vocabulary"]["unknown"] == 0
    assert test["vocabulary"]["unseen"] == pytest.approx(4 / 12)  # 8, 9 and x
    assert (test["sizes"]["width"]["least"], test["sizes"]["width"]["greatest"]) == (40, 100)
    assert (test["sizes"]["looked_at"], test["sizes"]["smaller"]) == (2, 1)
    text = run("stats", "small.yaml", "--workers", "0").stdout
    assert "words of a caption" in text
    assert "shorter side below 32" in text


def test_a_photograph_on_its_side_is_measured_upright(place: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 24)).save(place / "images" / "8.jpg", exif=exif)
    width = json.loads(run("stats", "small.yaml", "--json", "--split", "test").stdout)["splits"]["test"]["sizes"][
        "width"
    ]
    assert (width["least"], width["greatest"]) == (24, 40)


def source_of(split: str) -> Source[Pair]:
    return open_source(getattr(load_experiment("small.yaml").experiment.data, split), "pairs")


def assert_same_pairs(packed: Source[Pair], original: Source[Pair]) -> None:
    assert len(packed) == len(original)
    for i in range(len(original)):
        ours, theirs = packed.item(i), original.item(i)
        assert (ours.captions, ours.image_id) == (theirs.captions, theirs.image_id)
        assert np.array_equal(np.asarray(packed.images(i)[0]), np.asarray(original.images(i)[0]))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_packed_shards_read_back_as_the_same_pairs(place: Path, workers: str):
    relist(
        place,
        "train.json",
        lambda entries: entries.insert(1, {"image": "0.jpg", "caption": [" b\n", "ö"], "image_id": 0}),
    )
    limits = ("--shard-samples", "3", "--workers", workers)
    result = run("pack", "small.yaml", "--split", "train", "--output", "shards", *limits)
    assert result.exit_code == 0
    assert result.stdout == 'train: {source: webdataset, shards: ["shards/{00000..00002}.tar"]}\n'
    packed = Shards(["shards/{00000..00002}.tar"])
    assert_same_pairs(packed, source_of("train"))
    assert packed.read(0)[0] == (place / "images" / "0.jpg").read_bytes()
    manifest = json.loads((place / "shards" / "manifest.json").read_text())
    assert (manifest["pairs"], manifest["samples"], manifest["skipped"]) == (9, 7, [])
    assert [shard["samples"] for shard in manifest["shards"]] == [3, 3, 1]
    assert all((place / "shards" / shard["name"]).stat().st_size == shard["bytes"] for shard in manifest["shards"])


def test_what_pack_prints_can_be_trained_on(place: Path):
    line = run("pack", "small.yaml", "--split", "train", "--output", "shards").stdout
    original = source_of("train")
    spec = SPEC.replace("  train: {source: json, files: [train.json], root: images}\n", f"  {line}")
    (place / "small.yaml").write_text(spec)
    assert_same_pairs(source_of("train"), original)


def test_equal_data_give_equal_shards(place: Path):
    for name, workers in (("one", "0"), ("two", "2")):
        run("pack", "small.yaml", "--split", "train", "--output", name, "--workers", workers)
    for file in ("00000.tar", "manifest.json"):
        assert (place / "one" / file).read_bytes() == (place / "two" / file).read_bytes()


def test_no_shard_is_larger_than_asked_for(place: Path):
    for i in range(6):
        picture(place / "images" / f"{i}.{'png' if i % 2 else 'jpg'}", i, (600, 400))
    run("pack", "small.yaml", "--split", "train", "--output", "shards", "--shard-megabytes", "1")
    sizes = [path.stat().st_size for path in sorted((place / "shards").glob("*.tar"))]
    assert len(sizes) > 1
    assert max(sizes) <= 1_000_000


def test_large_images_are_scaled_to_the_longest_side(place: Path):
    picture(place / "images" / "8.jpg", 8, (100, 50))
    run("pack", "small.yaml", "--split", "test", "--output", "shards", "--longest-side", "60", "--quality", "80")
    packed = Shards(["shards/00000.tar"])
    assert [packed.images(i)[0].size for i in range(2)] == [(60, 30), (40, 24)]
    assert packed.read(1)[0] == (place / "images" / "9.png").read_bytes()


def test_unreadable_images_are_left_out_and_listed_or_stop_it_with_nothing_left(place: Path):
    (place / "images" / "1.png").write_bytes(b"\x89PNG")
    stopped = run("pack", "small.yaml", "--split", "train", "--output", "shards")
    assert stopped.exit_code == 3
    assert "at least 1 of 8 items have missing or corrupt images, 0 are allowed" in stopped.stderr
    assert sorted(os.listdir(place)) == ["images", "small.yaml", "test.json", "train.json", "validation.csv"]
    allowed = ("--set", "data.corrupt_limit=0.2")
    result = run("pack", "small.yaml", "--split", "train", "--output", "shards", *allowed)
    assert result.exit_code == 0
    assert "1 images could not be read" in result.stderr
    assert len(Shards(["shards/00000.tar"])) == 7
    assert "entry 2: image 1.png" in json.loads((place / "shards" / "manifest.json").read_text())["skipped"][0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--output", "images"), "images: already exists"),
        (("--output", "new", "--quality", "80"), "Add --longest-side"),
        (("--output", "new", "--shard-samples", "0"), "not in the range x>=1"),
        (("--output", "small.yaml"), "is a file"),
    ],
)
def test_wrong_use_of_pack_is_said_before_anything_is_read(place: Path, options: tuple[str, ...], message: str):
    result = run("pack", "small.yaml", "--split", "train", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (place / "new").exists()


def test_none_of_it_needs_torch(place: Path):
    program = """
import sys
sys.modules["torch"] = None
from cbalign.cli import main
for words in (["check"], ["stats"], ["pack", "--split", "test", "--output", "shards"]):
    try:
        main(["data", words[0], "small.yaml", *words[1:]])
    except SystemExit as end:
        assert end.code == 0, words
"""
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
