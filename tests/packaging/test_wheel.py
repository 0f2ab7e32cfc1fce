"""The light core: the wheel, installed with nothing but its own dependencies, does all that needs no training."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cbalign.exporting.bundle import Exported
from tests.exporting.conftest import exported, run

__all__ = ["exported", "run"]

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def execute(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        env=environment,
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of a fresh environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT)
    built = execute(*build)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("cbalign-*.whl")
    assert execute(sys.executable, "-m", "venv", folder / "venv").returncode == 0
    scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    done = execute(scripts / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel)
    if done.returncode and re.search("No matching distribution|connection|timed out", done.stderr, re.IGNORECASE):
        pytest.skip(f"the package registry is out of reach: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return scripts


@pytest.fixture
def cbalign(installed: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    return lambda *words: execute(installed / "cbalign", *words, cwd=tmp_path)


def test_no_package_for_training_comes_with_it(installed: Path) -> None:
    listed = execute(installed / "python", "-m", "pip", "list", "--format", "json", "--disable-pip-version-check")
    names = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert names & {"cbalign", "pillow", "tokenizers"} == {"cbalign", "pillow", "tokenizers"}
    assert not names & {"torch", "torchvision", "timm", "transformers", "onnx", "safetensors", "fastapi"}
    assert execute(installed / "python", "-m", "pip", "check").returncode == 0
    assert execute(installed / "python", "-c", "import torch").returncode == 1


def test_a_bundle_is_verified_evaluated_and_searched_with(cbalign, exported: Exported, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    verified = cbalign("verify", exported.folder)
    assert verified.returncode == 0, verified.stderr
    evaluated = cbalign("evaluate", exported.folder, "--on", "test", "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["results"]
    pictures = next(path.parent for path in exported.folder.parents[1].rglob("3.png"))
    searched = cbalign(
        "search", exported.folder, pictures, "a red round thing", "--cache", tmp_path / "cache", "--json"
    )
    assert searched.returncode == 0, searched.stderr
    assert len(json.loads(searched.stdout)["hits"]) == 12
    triton = cbalign("export", exported.folder, "--triton", tmp_path / "models")
    assert triton.returncode == 0, triton.stderr


def test_two_specs_are_told_apart(cbalign) -> None:  # type: ignore[no-untyped-def]
    assert cbalign("cp", "quickstart", "mine.yaml").returncode == 0
    assert cbalign("validate", "mine.yaml").returncode == 0
    assert cbalign("diff", "mine.yaml", "quickstart").returncode == 0
    differing = cbalign("diff", "albef", "mine.yaml")
    assert differing.returncode == 1, differing.stderr
    assert "objectives.codebook.weight" in differing.stdout


def test_what_needs_more_says_which_extra_to_install(cbalign, exported: Exported) -> None:  # type: ignore[no-untyped-def]
    for words, extra in ((("train", "quickstart"), "train"), (("serve", exported.folder), "serve")):
        refused = cbalign(*words)
        assert refused.returncode == 2
        assert f"pip install 'cbalign[{extra}]'" in refused.stderr
        assert "Traceback" not in refused.stderr
