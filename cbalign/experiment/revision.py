"""Specs in git revisions: `REV:path`, with everything they extend."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cbalign.errors import UsageError
from cbalign.experiment.diagnostics import Diagnostic, InvalidSpec
from cbalign.experiment.document import SourceText
from cbalign.experiment.files import Files
from cbalign.experiment.reader import decode_source
from cbalign.experiment.recipes import SUFFIXES
from cbalign.experiment.suggestions import closest


@dataclass(frozen=True)
class Revision(Files):
    """The files of a git revision, under their paths in the working tree.

    `root` is the working tree. Files outside of it, such as recipes of an installed cbalign, are read from disk.
    """

    revision: str
    root: Path

    def read(self, path: Path) -> SourceText:
        """Read the text of a file in the revision."""
        inside = self._inside(path)
        if inside is None:
            return super().read(path)
        kind, content = self._object(inside)
        if kind != "blob":
            reason = "it is a folder" if kind == "tree" else "no such file"
            raise InvalidSpec([Diagnostic(f"cannot read {self.name(path)}: {reason}")])
        return decode_source(content, self.name(path), path)

    def exists(self, path: Path) -> bool:
        """Whether the revision contains the file."""
        inside = self._inside(path)
        return super().exists(path) if inside is None else self._object(inside)[0] == "blob"

    def name(self, path: Path) -> str:
        """Return `REV:path`, with the path relative to the root of the working tree."""
        inside = self._inside(path)
        return super().name(path) if inside is None else f"{self.revision}:{inside}"

    def specs_below(self, folder: Path) -> list[str]:
        """List the spec files of the revision in a folder."""
        inside = self._inside(folder)
        if inside is None:
            return super().specs_below(folder)
        place = "./" if inside == "." else f"{inside}/"
        listed = git(["ls-tree", "--name-only", self.revision or "HEAD", "--", place], self.root)[1]
        return [line.rpartition("/")[2] for line in listed.decode("utf-8", "replace").splitlines()]

    def _inside(self, path: Path) -> str | None:
        whole = Path(os.path.normpath(path.absolute()))
        return whole.relative_to(self.root).as_posix() if whole.is_relative_to(self.root) else None

    def _object(self, inside: str) -> tuple[str, bytes]:
        """Return the object at a path from the root: `blob` and its content, `tree`, or an empty type if missing."""
        if "\n" in inside:
            return "", b""
        query = f"{self.revision}:{inside}\n".encode("utf-8", "surrogateescape")
        command = ["cat-file", "--batch", *(["--follow-symlinks"] if self.revision else [])]
        _, answer, _ = git(command, self.root, query)
        head, _, content = answer.partition(b"\n")
        _, kind, size, *_ = (*head.split(), b"", b"", b"")
        return (kind.decode(), content[: int(size)]) if kind in (b"blob", b"tree") else ("", b"")


def open_revision(name: str) -> tuple[Revision, Path]:
    """Resolve `REV:path` to the files of the revision and a path in the working tree.

    As in git, the path is relative to the root of the working tree, or to the working directory with a leading `./`;
    an empty REV is the index.

    Raises:
        UsageError: git is missing, this is not a repository, or the revision or file does not exist.
    """
    revision, _, inside = name.partition(":")
    here = Path.cwd()
    code, up, said = git(["rev-parse", "--show-cdup"], here)
    if code:
        reason = said.decode("utf-8", "replace").partition("\n")[0].removeprefix("fatal: ")
        raise UsageError(f"{name} is neither a file nor a git revision: {reason}.")
    root = Path(os.path.normpath(here / up.decode().strip()))
    known = git(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{tree}}"], root)
    if revision and known[0]:
        refs = git(["for-each-ref", "--format=%(refname:short)"], root)[1].decode("utf-8", "replace").split()
        near = closest(revision, [*refs, "HEAD"])
        remedy = f"Did you mean `{near}`?" if near else None
        raise UsageError(f"{name}: git has no revision `{revision}`.", remedy=remedy)
    if not inside:
        raise UsageError(f"{name} names no file.", remedy=f"Write {revision}:path/of/spec.yaml, relative to the root.")
    files = Revision(revision, root)
    start = here if inside.startswith(("./", "../")) else root
    path = Path(os.path.normpath(start / inside))
    spelt = (path.with_name(f"{path.name}{suffix}") for suffix in ("", *SUFFIXES))
    found = next((each for each in spelt if each.is_relative_to(root) and files.exists(each)), None)
    if found is None:
        raise UsageError(f"{name}: {_why_not(files, path)}.", remedy=_what_instead(files, inside, path))
    return files, found


def _why_not(files: Revision, path: Path) -> str:
    if not path.is_relative_to(files.root):
        return f"the path is outside the working tree {files.root}"
    inside = path.relative_to(files.root).as_posix()
    where = f"revision {files.revision}" if files.revision else "the index"
    if files._object(inside)[0] == "tree":
        return f"{inside} is a folder in {where}; give the spec file in it"
    return f"{where} has no file {inside}"


def _what_instead(files: Revision, inside: str, path: Path) -> str | None:
    if not path.is_relative_to(files.root):
        return None
    from_here = Path(os.path.normpath(Path.cwd() / inside))
    if from_here != path and files.exists(from_here):
        return f"A path relative to the working directory begins with a dot: {files.revision}:./{inside}"
    near = closest(path.name, [name for name in files.specs_below(path.parent) if name != path.name])
    return f"Did you mean `{inside.removesuffix(path.name)}{near}`?" if near else None


def git(arguments: list[str], folder: Path, given: bytes = b"") -> tuple[int, bytes, bytes]:
    """Run a git command in `folder`; return its exit code, output and messages.

    Raises:
        UsageError: git is not installed.
    """
    import subprocess

    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, input=given, capture_output=True, env=environment)
    except FileNotFoundError as error:
        raise UsageError("This needs git, which is not installed.") from error
    return done.returncode, done.stdout, done.stderr
