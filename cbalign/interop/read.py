"""Detect the tool of a configuration, and convert it to a spec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from cbalign.errors import SpecError, UsageError
from cbalign.experiment.diagnostics import InvalidSpec
from cbalign.experiment.document import MapNode, SourceText
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import settings
from cbalign.experiment.files import Files
from cbalign.experiment.load import load_experiment
from cbalign.experiment.reader import read_file, read_node
from cbalign.experiment.recipes import display_name
from cbalign.interop import albef, formats, lavis, open_clip
from cbalign.interop.open_clip_settings import read_flags, read_params
from cbalign.interop.rules import Line, Migration

Tool = Literal["albef", "lavis", "open_clip", "cbalign"]
TOOLS: tuple[Tool, ...] = ("albef", "lavis", "open_clip", "cbalign")


class ConfigurationFormat(Protocol):
    """The configurations of one tool; the modules of this package implement it."""

    def recognises(self, tree: MapNode) -> bool:
        """Whether the settings belong to this tool."""

    def migrate(self, tree: MapNode) -> Migration:
        """Convert the settings to a spec."""


_FORMATS: dict[Tool, ConfigurationFormat] = {"albef": albef, "lavis": lavis, "open_clip": open_clip}


@dataclass(frozen=True)
class Migrated:
    """A valid spec, and the settings that were converted, assumed from the tool's code, or dropped."""

    tool: Tool
    text: str
    carried: tuple[Line, ...] = ()
    assumed: tuple[Line, ...] = ()
    dropped: tuple[Line, ...] = ()
    moved: tuple[str, ...] = ()


def migrate_file(path: Path, tool: Tool | None = None, name: str | None = None) -> Migrated:
    """Convert a configuration to a spec.

    Args:
        path: the file; `-` reads stdin.
        tool: the tool that it belongs to; None detects it.
        name: name of the experiment; None derives one from the configuration.

    Raises:
        SpecError: the file cannot be read, or the result is not a valid spec.
        UsageError: the file belongs to none of the tools, or configures a model that cbalign does not have.
    """
    source = read_file(path, display_name(path))
    tree, found = _tree(source)
    tool = tool or found
    if tool is None:
        raise UsageError(
            f"{source.name} is neither a configuration of ALBEF, LAVIS or open_clip nor a spec.",
            remedy=f"If it is one, specify the tool: --from {'|'.join(TOOLS)}",
        )
    if tool == "cbalign":
        rewritten = formats.rewrite(source, tree)
        _check(rewritten.text, path.absolute().parent)
        return Migrated(tool, rewritten.text, moved=rewritten.moved)
    migration = _FORMATS[tool].migrate(tree)
    if name is not None:
        migration.rename(name)
    text = f"# Migrated from {source.name}, a configuration of {migration.tool}.\n{migration.text()}"
    _check(text, None)
    return Migrated(tool, text, tuple(migration.carried), tuple(migration.assumed), tuple(migration.dropped))


def _tree(source: SourceText) -> tuple[MapNode, Tool | None]:
    """Parse the settings of a file and detect their tool; None if no tool matches."""
    for read in (read_params, read_flags):
        if (tree := read(source)) is not None:
            return tree, "open_clip"
    node = read_node(source)
    if not isinstance(node, MapNode):
        raise UsageError(f"{source.name} contains no settings.", remedy="Give a configuration file.")
    for tool, configuration in _FORMATS.items():
        if configuration.recognises(node):
            return node, tool
    own = {"extends", "profiles", *settings(Experiment)}
    is_spec = "cbalign" in node.entries or (bool(node.entries) and node.entries.keys() <= own)
    return node, "cbalign" if is_spec else None


def _check(text: str, folder: Path | None) -> None:
    """Validate the resulting spec; its data files need not exist."""
    draft = (folder or Path.cwd()) / "the migrated spec"
    try:
        load_experiment(draft, check_files=False, files=_Draft(draft, text))
    except InvalidSpec as error:
        raise SpecError(f"{error}\n\nNothing was written. Correct this first.") from error


@dataclass(frozen=True)
class _Draft(Files):
    """The disk with one more file, which is not written."""

    path: Path
    text: str

    def read(self, path: Path) -> SourceText:
        """Read the text of a file."""
        return SourceText(self.path.name, self.text, self.path) if path == self.path else super().read(path)
