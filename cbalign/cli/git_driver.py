"""`git diff` that compares specs by what they say: the driver that git calls, and how a repository learns of it.

git gives a driver the two texts of one file, not the revisions that they are of. So a spec's bases are those of the
working tree on both sides: what is shown is what the change of this file does.
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
from cbalign.cli.diff_findings import gather
from cbalign.cli.diff_layouts.text import as_text
from cbalign.errors import CbalignError, UsageError
from cbalign.experiment.diagnostics import InvalidSpec
from cbalign.experiment.document import SourceText
from cbalign.experiment.files import Files
from cbalign.experiment.load import load_experiment
from cbalign.experiment.operands import Operand
from cbalign.experiment.reader import read_file
from cbalign.experiment.revision import git

KEY = "diff.cbalign.command"
ATTRIBUTE = "experiments/**/*.yaml diff=cbalign"


@dataclass(frozen=True)
class _Version(Files):
    """The disk with another text at one path."""

    path: Path
    text: Path
    label: str

    def read(self, path: Path) -> SourceText:
        """The text of a file; of the one path, the version."""
        if path.absolute() != self.path.absolute():
            return super().read(path)
        version = read_file(self.text, self.label)
        return SourceText(self.label, version.text, self.path.absolute())


def show_change(arguments: Sequence[str]) -> None:
    """What git wants of an external diff: print the change of one file. Never fails, for git would stop there.

    Args:
        arguments: path, old file, hex, mode, new file, hex, mode, and for a renamed file its new path; only the path
            where a merge is not resolved yet.

    Raises:
        UsageError: someone else than git called.
    """
    if len(arguments) == 1:
        _say(f"{arguments[0]}: not merged yet")
        return
    if len(arguments) < 7:
        raise UsageError("--git-driver is for git to call: see cbalign diff --install-git-driver.")
    before, after = arguments[0], arguments[7] if len(arguments) > 7 else arguments[0]
    versions = [
        _Version(Path(before), Path(arguments[1]), f"a/{before}"),
        _Version(Path(after), Path(arguments[4]), f"b/{after}"),
    ]
    _say(click.style(f"cbalign diff a/{before} b/{after}", bold=True))
    if any(version.text == Path(os.devnull) for version in versions):
        _say(_lines(versions))
        return
    try:
        _say(as_text(gather([_operand(version) for version in versions])))
    except CbalignError as error:
        if isinstance(error, InvalidSpec):
            reason = f"not a whole spec ({error.diagnostics[0].as_text().splitlines()[0]})"
        else:
            reason = error.message
        _say(f"{reason}; line by line:\n{_lines(versions)}")
    _say("")


def _operand(version: _Version) -> Operand:
    return Operand(version.label, "spec", load_experiment(version.path, check_files=False, files=version))


def _lines(versions: Sequence[_Version]) -> str:
    """The usual diff of the two texts."""
    texts = []
    for version in versions:
        content = b"" if version.text == Path(os.devnull) else version.text.read_bytes()
        texts.append(content.decode("utf-8", "replace").splitlines())
    names = [os.devnull if v.text == Path(os.devnull) else v.label for v in versions]
    colours = {"+": "green", "-": "red", "@": "cyan"}
    lines = difflib.unified_diff(texts[0], texts[1], names[0], names[1], lineterm="")
    return "\n".join(click.style(line, fg=colours.get(line[:1])) for line in lines)


def _say(text: str) -> None:
    """Like any result, but a pager of git's shows colours too."""
    paged = bool(os.environ.get("GIT_PAGER_IN_USE")) and not os.environ.get("NO_COLOR")
    click.echo(text, color=paged or console.has_colour(sys.stdout))


def install() -> None:
    """Register the driver in this repository's git configuration; say what was done and what is left to do.

    Raises:
        UsageError: not in a git repository, or its configuration cannot be written.
    """
    here = Path.cwd()
    code, top, _ = git(["rev-parse", "--show-toplevel"], here)
    if code:
        raise UsageError(f"{here} is not in a git repository.", remedy="Go to the repository that holds your specs.")
    command = shlex.join([Path(sys.executable).as_posix(), "-m", "cbalign", "diff", "--git-driver"])
    now = git(["config", "--local", "--get", KEY], here)[1].decode().strip()
    if now == command:
        console.result(f"already set: git config {KEY} = {command}")
    else:
        code, _, said = git(["config", "--local", KEY, command], here)
        if code:
            raise UsageError(f"git config {KEY} cannot be set: {said.decode('utf-8', 'replace').strip()}")
        console.result(f"{'replaced' if now else 'set'}: git config {KEY} = {command}")
    attributes = Path(top.decode().strip()) / ".gitattributes"
    if attributes.is_file() and "diff=cbalign" in attributes.read_text(encoding="utf-8", errors="replace"):
        console.result(f"already there: a line with diff=cbalign in {attributes.name}")
    else:
        console.result(f"now add a line for your specs to {attributes.name}, such as:\n\n  {ATTRIBUTE}\n")
    console.result(
        "Then `git diff` tells what a change of a spec does (`git log` and `git show` do with --ext-diff).\n"
        f"To undo: git config --unset {KEY}"
    )
