"""Distributions made of a few files, installed by being on the path."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SECTIONS = '''
from typing import Literal
from cbalign.parts import (
    Effect, ObjectiveSection, PrecisionSection, SolverSection, SourceSection, TargetSection, TrackerSection, setting,
)
from cbalign.parts.kinds import ParityLimits


class Sigmoid(ObjectiveSection):
    """L = -sum log sigma(y (z z / t + b)) (Zhai et al., 2023)."""

    name = "sigmoid"
    builds = "{module}.builders:SigmoidLoss"

    bias: float = setting(-10.0, effect=Effect.TRAINING, help="Initial bias b.")


class Table(SourceSection):
    """A table of pairs."""

    builds = "{module}.builders:open_table"

    source: Literal["table"] = setting(effect=Effect.DATA, help="Which source.")
    rows: int = setting(10, ge=1, effect=Effect.DATA, help="Number of rows.")


class Greedy(SolverSection):
    """Greedy assignment."""

    builds = "{module}.builders:Greedy"

    solver: Literal["greedy"] = setting(effect=Effect.TRAINING, help="Which solver.")
    rounds: int = setting(3, ge=1, effect=Effect.TRAINING, help="Number of rounds.")


class Plain(PrecisionSection):
    """float32 as PyTorch exports it."""

    name = "plain"
    builds = "{module}.builders:write_plain"
    purpose = "tests"
    tolerance = 1e-3
    limits = ParityLimits("difference", tokens=1e-4, embedding=1e-4, scores=1e-3, codes=0.005, recall=0.3)


class Listing(TargetSection):
    """A list of the bundle's files."""

    builds = "{module}.builders:write_listing"

    kind: Literal["listing"] = setting(effect=Effect.EXPORT, help="Which target.")


class Lines(TrackerSection):
    """A text file in the run."""

    builds = "{module}.builders:Lines"

    kind: Literal["lines"] = setting(effect=Effect.RUNTIME, help="Which tracker.")
'''

BUILDERS = """
import onnx_ir


class Greedy:
    def __init__(self, section):
        self.rounds = section.rounds


def open_table(section):  # lacks the kind of items
    return []


def write_plain(section, original):
    return onnx_ir.load(original)


def write_listing(section, bundle, folder):
    (folder / "files.txt").write_text("\\n".join(sorted(path.name for path in bundle.iterdir())))


class Lines:
    def __init__(self, section, info):
        self.file = open(info.folder / "lines.txt", "a")
        self.file.write(f"open {info.id} {info.done} {info.spec['name']}\\n")

    def log(self, record):
        self.file.write(f"{record.kind} {record.step}\\n")

    def close(self):
        self.file.close()
"""

ENTRIES = {
    "cbalign.objectives": {"sigmoid": "Sigmoid"},
    "cbalign.sources": {"table": "Table"},
    "cbalign.solvers": {"greedy": "Greedy"},
    "cbalign.precisions": {"plain": "Plain"},
    "cbalign.targets": {"listing": "Listing"},
    "cbalign.trackers": {"lines": "Lines"},
}


@dataclass
class Site:
    """A folder of installed distributions."""

    folder: Path
    work: Path

    def install(
        self,
        name: str = "cbalign-fake",
        version: str = "1.2",
        *,
        module: str = "fake",
        sections: str = SECTIONS,
        entries: dict[str, dict[str, str]] = ENTRIES,
        requires: tuple[str, ...] = (),
    ) -> None:
        """Install a distribution with one package."""
        package = self.folder / module
        package.mkdir()
        (package / "__init__.py").write_text(sections.replace("{module}", module))
        (package / "builders.py").write_text(BUILDERS)
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {each}" for each in requires)]) + "\n")
        groups = []
        for group, points in entries.items():
            groups += [f"[{group}]", *(f"{point} = {module}:{attribute}" for point, attribute in points.items())]
        (info / "entry_points.txt").write_text("\n".join(groups) + "\n")

    def run(self, *words: object, installed: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `cbalign` with these distributions, or without them."""
        return self._python("-m", "cbalign", *map(str, words), installed=installed)

    def code(self, text: str) -> str:
        """What Python prints that runs `text` with these distributions."""
        done = self._python("-c", text, installed=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _python(self, *words: str, installed: bool) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(ROOT), *([str(self.folder)] if installed else [])])
        return subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            cwd=self.work,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )

    def write(self, text: str, name: str = "spec.yaml") -> Path:
        """A spec in the working directory."""
        path = self.work / name
        path.write_text(text)
        return path


@pytest.fixture
def site(tmp_path: Path) -> Site:
    folder, work = tmp_path / "site", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    return Site(folder, work)
