"""The rule of the house: who adds a kind of part adds files and touches none.

No module outside of a part's own folder tests which part it has: no `match`, `isinstance` or comparison with the name
of a part. Such a test would have to be edited for the next part, and would be silent about a plug-in's.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import cbalign
from cbalign.parts.registry import KINDS, InstalledPart, registry

ROOT = Path(cbalign.__file__).parent

SELECTORS = {kind.key for kind in KINDS if kind.key} | {
    kind.noun.rpartition(" ")[2] for kind in KINDS
} | {"part_name", "kind"}  # fmt: skip
"""Attributes, variables and methods whose value is the name of a part."""

ALLOWED = {
    "engine/precision.py": "`train.precision`, in which autocast computes, is not the precision of an exported graph",
    "lab/plan/gpus.py": "`train.precision`, as above",
    "lab/plan/step.py": "`train.precision`, as above",
    "interop/albef.py": "names in ALBEF's configurations",
    "interop/lavis.py": "names in LAVIS's configurations",
    "interop/open_clip.py": "names in OpenCLIP's configurations",
    "data/published_tokenizer.py": "types of models of transformers",
}
"""Modules in which words mean something else than the parts of the same name, with the reason."""


@dataclass(frozen=True)
class Finding:
    """A test for a part in a module that is not the part's own."""

    path: str  # below the package
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def own_parts() -> list[InstalledPart]:
    return [part for part in registry().parts if part.origin.is_own]


def own_files(part: InstalledPart) -> set[Path]:
    """The modules that belong to a part: its section, what it builds, and its folder if it has one."""
    modules = [part.section.__module__, part.section.builds.partition(":")[0]]
    files = {ROOT.parent / f"{module.replace('.', '/')}.py" for module in modules}
    section = ROOT.parent / f"{part.section.__module__.replace('.', '/')}.py"
    return files | (set(section.parent.rglob("*.py")) if section.name == "section.py" else set())


def terminal(node: ast.expr) -> str | None:
    """The last identifier of `a.b.kind`, `kind` or `a.part_name()`."""
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case ast.Call(func=function):
            return terminal(function)
    return None


def texts(node: ast.AST) -> Iterator[str]:
    """Text literals of an operand: `"a"`, or `("a", "b")`."""
    for each in node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]:
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def classes(node: ast.AST) -> Iterator[str]:
    """Names of classes in the second argument of `isinstance`, or in a pattern."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name | ast.Attribute) and (name := terminal(each)) is not None:
            yield name


def selections(tree: ast.AST) -> Iterator[tuple[int, str, set[str], set[str]]]:
    """Line, wording, names of classes and names of parts of each test in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and terminal(node.func) in ("isinstance", "issubclass") and len(node.args) == 2:
            yield node.lineno, "isinstance", set(classes(node.args[1])), set()
        elif isinstance(node, ast.MatchClass):
            yield node.lineno, "match", set(classes(node.cls)), set()
        elif isinstance(node, ast.Match) and terminal(node.subject) in SELECTORS:
            values = [v.value for v in ast.walk(node) if isinstance(v, ast.MatchValue)]
            yield node.lineno, "match", set(), {text for value in values for text in texts(value)}
        elif isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            if any(terminal(operand) in SELECTORS for operand in operands):
                found = {text for operand in operands for text in texts(operand)}
                yield node.lineno, f"comparison `{ast.unparse(node)}`", set(), found
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict) and terminal(node.slice) in SELECTORS:
            yield node.lineno, "look-up", set(), {text for key in node.value.keys if key for text in texts(key)}


def findings(source: str, path: Path, parts: list[InstalledPart]) -> list[Finding]:
    strangers = [part for part in parts if path not in own_files(part)]
    sections = {part.section.__name__ for part in strangers}
    names = {part.name for part in strangers}
    return [
        Finding(path.relative_to(ROOT).as_posix(), line, f"{what} tests for {', '.join(sorted(hit))}")
        for line, what, of_classes, of_names in selections(ast.parse(source))
        if (hit := (of_classes & sections) | (of_names & names))
    ]


def test_no_module_tests_for_parts_that_are_not_its_own() -> None:
    parts = own_parts()
    found = [f for path in sorted(ROOT.rglob("*.py")) for f in findings(path.read_text(encoding="utf-8"), path, parts)]
    unexpected = [finding for finding in found if finding.path not in ALLOWED]
    assert not unexpected, "ask the part by a method or an attribute instead:\n" + "\n".join(map(str, unexpected))
    stale = set(ALLOWED) - {finding.path for finding in found}
    assert not stale, f"no longer needed: {stale}"


@pytest.mark.parametrize(
    "code",
    [
        "isinstance(section, VQATask)",
        "isinstance(section, (int, sections.VQATask))",
        "match task:\n    case VQATask(): pass",
        "match task.kind:\n    case 'vqa' | 'nlvr2': pass",
        "experiment.task.kind == 'vqa'",
        "section.source in ('csv', 'json')",
        "'vqa' != section.part_name()",
        "{'fp32': 1e-3, 'int8': 5e-2}[precision]",
    ],
)
def test_a_test_for_a_part_is_found(code: str) -> None:
    assert findings(code, ROOT / "elsewhere.py", own_parts())


@pytest.mark.parametrize("code", ["section.kind == other.kind", "record.kind == 'train'", "isinstance(model, Encoder)"])
def test_other_tests_are_not(code: str) -> None:
    assert not findings(code, ROOT / "elsewhere.py", own_parts())
