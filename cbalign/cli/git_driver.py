"""A driver by which `git diff` compares the values of specs, and its installation in a repository.

git passes the two texts of one file to a driver, not their revisions. The bases of both specs are therefore read from
the working tree, and the output shows the effect of the change in this file alone.
"""

from __future__ import annotations

import difflib
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from cbalign.cli import console
from cbalign.errors import CbalignError, UsageError
from cbalign.experiment.diagnostics import InvalidSpec
from cbalign.experiment.document import SourceText
from cbalign.experiment.files import Files
from cbalign.experiment.load import load_experiment
from cbalign.experiment.operands import Operand
from cbalign.experiment.reader import read_file
from cbalign.experiment.revision import git
from cbalign.lab.comparison.findings import gather
from cbalign.render.diff import diff_blocks
from cbalign.runtime.table import plain_text

KEY = "diff.cbalign.command"
ATTRIBUTE = "experiments/**/*.yaml diff=cbalign"


@dataclass(frozen=True)
class _Version(Files):
    """Files on disk, with another text at one path."""

    path: Path
    text: Path
    label: str

    def read(self, path: Path) -> SourceText:
        """Read a file; for the one path, read the version."""
        if path.absolute() != self.path.absolute():
            return super().read(path)
        version = read_file(self.text, self.label)
        return SourceText(self.label, version.text, self.path.absolute())


def show_change(arguments: Sequence[str]) -> None:
    """Print the change of one file, as git's external diff. Reports all errors as text, since git stops on a failure.

    Args:
        arguments: path, old file, hex, mode, new file, hex, mode, and for a renamed file its new path; only the path
            while a merge is unresolved.

    Raises:
        UsageError: the caller is not git.
    """
    if len(arguments) == 1:
        _print(f"{arguments[0]}: unmerged")
        return
    if len(arguments) < 7:
        raise UsageError("--git-driver is called by git: see cbalign diff --install-git-driver.")
    before, after = arguments[0], arguments[7] if len(arguments) > 7 else arguments[0]
    versions = [
        _Version(Path(before), Path(arguments[1]), f"a/{before}"),
        _Version(Path(after), Path(arguments[4]), f"b/{after}"),
    ]
    _print(click.style(f"cbalign diff a/{before} b/{after}", bold=True))
    if any(version.text == Path(os.devnull) for version in versions):
        _print(_lines(versions))
        return
    try:
        _print(plain_text(diff_blocks(gather([_operand(version) for version in versions]))))
    except CbalignError as error:
        if isinstance(error, InvalidSpec):
            reason = f"not a complete spec ({error.diagnostics[0].as_text().splitlines()[0]})"
        else:
            reason = error.message
        _print(f"{reason}; line by line:\n{_lines(versions)}")
    _print("")


def _operand(version: _Version) -> Operand:
    return Operand(version.label, "spec", load_experiment(version.path, check_files=False, files=version))


def _lines(versions: Sequence[_Version]) -> str:
    """A unified diff of the two texts."""
    texts = []
    for version in versions:
        content = b"" if version.text == Path(os.devnull) else version.text.read_bytes()
        texts.append(content.decode("utf-8", "replace").splitlines())
    names = [os.devnull if v.text == Path(os.devnull) else v.label for v in versions]
    colours = {"+": "green", "-": "red", "@": "cyan"}
    lines = difflib.unified_diff(texts[0], texts[1], names[0], names[1], lineterm="")
    return "\n".join(click.style(line, fg=colours.get(line[:1])) for line in lines)


def _print(text: str) -> None:
    """Print a result, with colour also when git runs a pager."""
    paged = bool(os.environ.get("GIT_PAGER_IN_USE")) and not os.environ.get("NO_COLOR")
    click.echo(text, color=paged or console.has_colour(sys.stdout))


def install() -> None:
    """Register the driver in this repository's git configuration, and print the remaining steps.

    Raises:
        UsageError: this is not a git repository, or its configuration cannot be written.
    """
    here = Path.cwd()
    code, top, _ = git(["rev-parse", "--show-toplevel"], here)
    if code:
        raise UsageError(
            f"{here} is not in a git repository.", remedy="Run the command in the repository of your specs."
        )
    command = shlex.join([Path(sys.executable).as_posix(), "-m", "cbalign", "diff", "--git-driver"])
    now = git(["config", "--local", "--get", KEY], here)[1].decode().strip()
    if now == command:
        console.result(f"already set: git config {KEY} = {command}")
    else:
        code, _, message = git(["config", "--local", KEY, command], here)
        if code:
            raise UsageError(f"git config {KEY} cannot be set: {message.decode('utf-8', 'replace').strip()}")
        console.result(f"{'replaced' if now else 'set'}: git config {KEY} = {command}")
    attributes = Path(top.decode().strip()) / ".gitattributes"
    if attributes.is_file() and "diff=cbalign" in attributes.read_text(encoding="utf-8", errors="replace"):
        console.result(f"{attributes.name} already contains diff=cbalign")
    else:
        console.result(f"next: add a line for your specs to {attributes.name}, such as:\n\n  {ATTRIBUTE}\n")
    console.result(
        "`git diff` then reports what a change of a spec affects (`git log` and `git show` with --ext-diff).\n"
        f"To undo: git config --unset {KEY}"
    )
