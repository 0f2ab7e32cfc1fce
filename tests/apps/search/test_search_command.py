"""`cbalign search` as a user meets it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cbalign.cli import main

from .conftest import write_photo


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))


def search(*words: object) -> Result:
    result = CliRunner().invoke(main, ["search", *map(str, words)])
    assert "Traceback" not in result.stderr
    return result


def paths(result: Result) -> list[str]:
    assert result.exit_code == 0, result.stderr
    return [hit["path"] for hit in json.loads(result.stdout)["hits"]]


def test_a_text_finds_its_colour(bundle: Path, photos: Path, tmp_path: Path) -> None:
    result = search(bundle, photos, "red cars", "--top", 3, "--rerank", 0)  # three tokens: red
    assert result.exit_code == 0
    assert re.findall(r"\S+\.png", result.stdout) == ["red/0.png", "red/1.png", "red/2.png"]
    assert "9 images: 9 read, 9 encoded" in result.stderr
    assert list((tmp_path / "user" / "cbalign" / "search").iterdir())
    assert search(bundle, photos, "red cars", "--top", 3, "--rerank", 0).stderr == ""


def test_an_example_finds_pictures_like_it(bundle: Path, photos: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "example.png", 1, 99)
    found = paths(search(bundle, photos, "--image", tmp_path / "example.png", "--top", 2, "--json"))
    assert found == ["green/0.png", "green/1.png"]


def test_the_matcher_orders_the_nearest_pictures(bundle: Path, photos: Path) -> None:
    """This bundle's matcher likes bright pictures: the third red one is as dark, and greyer."""
    write_photo(photos / "red" / "bright.png", 0, 255, 200)
    nearest = paths(search(bundle, photos, "red cars", "--top", 4, "--rerank", 0, "--json"))
    assert nearest == ["red/0.png", "red/1.png", "red/2.png", "red/bright.png"]
    ordered = json.loads(search(bundle, photos, "red cars", "--top", 4, "--rerank", 4, "--json").stdout)
    assert ordered["hits"][0]["path"] == "red/bright.png"
    matches = [hit["match"] for hit in ordered["hits"]]
    assert matches == sorted(matches, reverse=True)
    behind = json.loads(search(bundle, photos, "red cars", "--top", 5, "--rerank", 2, "--json").stdout)["hits"]
    assert [hit["match"] is None for hit in behind] == [False, False, True, True, True]


def test_a_contact_sheet_stands_alone_and_escapes_names(bundle: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "red" / "0.png").rename(photos / "<b>&.png")
    sheet = tmp_path / "sheet.html"
    result = search(bundle, photos, "red <i>cars", "--top", 4, "--html", sheet)
    assert result.exit_code == 0, result.stderr
    page = sheet.read_text()
    assert page.count("data:image/jpeg;base64,") == 4
    assert "&lt;b&gt;&amp;.png" in page
    assert "<i>" not in page
    assert "<b>" not in page
    assert "http" not in page.replace("https", "http").replace((photos).as_uri(), "")


def test_the_document_says_what_was_done(bundle: Path, photos: Path) -> None:
    (photos / "text.jpg").write_text("no picture")
    document = json.loads(search(bundle, photos, "red cars", "--json").stdout)
    assert document["index"]["files"] == 10
    assert document["index"]["pictures"] == 9
    assert [problem["path"] for problem in document["index"]["problems"]] == ["text.jpg"]
    assert set(document["milliseconds"]) == {"encode", "search", "rerank"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "search needs one query"),
        (["red", "--image", "x.png"], 2, "search needs one query"),
        (["--image", "nowhere.png"], 3, "nowhere.png: no such image"),
        (["?!"], 2, "has no words"),
        ([" ".join(["word"] * 10_000)], 2, "10,000 words"),
        (["red", "--device", "tpu"], 2, "no device"),
        (["red", "--top", "0"], 2, "--top"),
    ],
)
def test_wrong_queries_are_told_in_one_message(
    bundle: Path, photos: Path, words: list[str], code: int, message: str
) -> None:
    result = search(bundle, photos, *words)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stdout == ""


def test_rerank_needs_a_matcher_and_a_text(bundle: Path, photos: Path) -> None:
    from tests.runtime.conftest import write_manifest

    result = search(bundle, photos, "--image", photos / "red" / "0.png", "--rerank", 3)
    assert (result.exit_code, "needs a text" in result.stderr) == (2, True)
    (bundle / "fp32" / "match.onnx").unlink()
    write_manifest(bundle, ("image", "text", "codebook"))
    assert search(bundle, photos, "red cars").exit_code == 0
    result = search(bundle, photos, "red cars", "--rerank", 3)
    assert (result.exit_code, "has no match graph" in result.stderr) == (2, True)


def test_folders_without_images_are_told(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert search(bundle, tmp_path / "empty", "red").exit_code == 3
    assert "no such folder" in search(bundle, tmp_path / "nowhere", "red").stderr
