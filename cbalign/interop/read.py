"""Which tool a configuration belongs to, and the spec that it becomes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cbalign.errors import SpecError, UsageError
from cbalign.experiment.diagnostics import InvalidSpec
from cbalign.experiment.document import MapNode, SourceText
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import settings
from cbalign.experiment.load import load_experiment
from cbalign.experiment.reader import read_file, read_node
from cbalign.experiment.recipes import display_name
from cbalign.interop import albef, formats, lavis, open_clip
from cbalign.interop.open_clip_settings import read_flags, read_params
from cbalign.interop.rules import Line, Migration

Tool = Literal["albef", "lavis", "open_clip", "cbalign"]
TOOLS: tuple[Tool, ...] = ("albef", "lavis", "open_clip", "cbalign")
_OTHERS: dict[Tool, Callable[[MapNode], Migration]] = {
    "albef": albef.migrate,
    "lavis": lavis.migrate,
    "open_clip": open_clip.migrate,
}


@dataclass(frozen=True)
class Migrated:
    """A valid spec, and the account of it: what was carried over, assumed from a tool's code, and left behind."""

    tool: Tool
    text: str
    carried: tuple[Line, ...] = ()
    assumed: tuple[Line, ...] = ()
    dropped: tuple[Line, ...] = ()
    moved: tuple[str, ...] = ()


def migrate_file(path: Path, tool: Tool | None = None, name: str | None = None) -> Migrated:
    """Turn a configuration into a spec.

    Args:
        path: the file; `-` is standard input.
        tool: what it belongs to; found out where it is not said.
        name: of the experiment, instead of one that is made up.

    Raises:
        SpecError: it cannot be read, or what comes out is no valid spec.
        UsageError: it belongs to none of the tools, or to a part of one that cbalign has not.
    """
    source = read_file(path, display_name(path))
    tree, found = _tree(source)
    tool = tool or found
    if tool is None:
        raise UsageError(
            f"{source.name} is no configuration of ALBEF, LAVIS or open_clip, and no spec.",
            remedy=f"If it is one, name the tool: --from {'|'.join(TOOLS)}",
        )
    if tool == "cbalign":
        rewritten = formats.rewrite(source, tree)
        _check(rewritten.text, path.absolute().parent)
        return Migrated(tool, rewritten.text, moved=rewritten.moved)
    migration = _OTHERS[tool](tree)
    if name is not None:
        migration.rename(name)
    text = f"# Migrated from {source.name}, a configuration of {migration.tool}.\n{migration.text()}"
    _check(text, None)
    return Migrated(tool, text, tuple(migration.carried), tuple(migration.assumed), tuple(migration.dropped))


def _tree(source: SourceText) -> tuple[MapNode, Tool | None]:
    """The settings in a text, and the tool that writes such."""
    for read in (read_params, read_flags):
        if (tree := read(source)) is not None:
            return tree, "open_clip"
    node = read_node(source)
    if not isinstance(node, MapNode):
        raise UsageError(f"{source.name} holds no settings.", remedy="Name a configuration file.")
    if albef.recognises(node):
        return node, "albef"
    if lavis.recognises(node):
        return node, "lavis"
    if open_clip.recognises(node):
        return node, "open_clip"
    own = {"extends", "profiles", *settings(Experiment)}
    is_spec = "cbalign" in node.entries or (bool(node.entries) and node.entries.keys() <= own)
    return node, "cbalign" if is_spec else None


def _check(text: str, folder: Path | None) -> None:
    """Refuse to hand out a spec that is none; its data need not be there."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=folder, encoding="utf-8") as draft:
        draft.write(text)
        draft.flush()
        try:
            load_experiment(draft.name, check_files=False)
        except InvalidSpec as error:
            told = str(error).replace(display_name(Path(draft.name)), "the migrated spec")
            raise SpecError(f"{told}\n\nNothing was written: correct this first.") from error
