"""The code of docs/how-to/python.md and of the README runs as it is printed, on a small model."""

import shutil

import pytest

import cbalign
from tests.api.conftest import SPEC
from tests.docs.excerpts import ROOT, fences


def blocks(page):
    return [fence.text for fence in fences(ROOT / page) if fence.language == "python"]


@pytest.fixture
def place(tmp_path, monkeypatch, run, bundle, folder, pictures):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(run.path, tmp_path / "runs" / run.name)
    (tmp_path / "runs/latest").symlink_to(run.name)
    shutil.copytree(bundle.path, tmp_path / "exports/quickstart")
    shutil.copytree(folder, tmp_path / "pictures", ignore=shutil.ignore_patterns("*.json"))
    (tmp_path / "images").mkdir()
    for number, name in enumerate(("a.jpg", "b.jpg", "b.png", "images/1.jpg", "images/2.jpg")):
        pictures[number].save(tmp_path / name)
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        pictures[number].save(tmp_path / "pets" / name / "1.png")
    return tmp_path


@pytest.mark.parametrize("page", ["docs/how-to/python.md", "README.md"])
def test_the_code_of_a_page_runs(page, place, pictures):
    small = {
        "data.train": {"source": "scenes", "split": "train", "size": 16, "render_size": 32},
        "data.test": {"source": "scenes", "split": "test", "size": 6, "render_size": 32},
        "train.duration": "1 step",
        "train.batch_size": 2,
        "train.checkpoint_every": "1 step",
    }
    names = {"images": pictures}
    found = blocks(page)
    assert found
    for text in found:
        if "cbalign.train(spec" in text and "cbalign.spec(" in text:  # the README trains the quickstart
            text = text.partition("run = ")[0]
        exec(compile(text, page, "exec"), names)
        if "spec = cbalign.spec" in text:
            assert names["spec"]["train.duration"] == "2 epochs"
            names["spec"] = cbalign.spec(SPEC, **small)
