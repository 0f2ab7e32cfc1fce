"""Benchmarks run for long and not here; that they still find what they import is told at once."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_a_benchmark_finds_what_it_imports(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    assert importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_documentation_shows_the_deployment_that_is_kept(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    deployment = importlib.import_module("benchmarks.deployment")
    table = deployment.table(json.loads(deployment.kept(device).read_text(encoding="utf-8")))
    begin, end = deployment.BEGIN.format(device), deployment.END.format(device)
    assert f"{begin}\n{table}{end}" in (ROOT / deployment.DOCUMENT).read_text(encoding="utf-8")
