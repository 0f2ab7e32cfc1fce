"""Add to the site what is not Markdown: pages generated from the code, tables of benchmarks, equations as MathML."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import cli_pages
import equations
import notebook_pages
import spec_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
INCLUDE = re.compile(r"^<!-- include: (?P<file>\S+) (?P<name>\S+) -->$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace folders in the navigation by the pages generated for them."""
    config.nav = _spelled_out(config.nav)
    return config


def _spelled_out(nav: Any) -> Any:
    if isinstance(nav, list):
        return [_spelled_out(each) for each in nav]
    if isinstance(nav, dict):
        return {title: _spelled_out(each) for title, each in nav.items()}
    return [path for path in made() if path.startswith(nav)] if nav.endswith("/") else nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, markdown in made().items():
        files.append(File.generated(config, path, content=markdown))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Insert the text between `<!-- NAME -->` and `<!-- /NAME -->` of a file of the repository."""
    return INCLUDE.sub(lambda found: included(ROOT / found["file"], found["name"]), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Convert equations to MathML, which browsers render without a script."""
    return equations.rendered(html, page.file.src_uri)


@cache
def made() -> dict[str, str]:
    """Return Markdown by path: the reference of specs and commands, notebooks, and CONTRIBUTING.md."""
    guide = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    notebooks = notebook_pages.pages(ROOT / "docs")
    return {**spec_pages.pages(), **cli_pages.pages(), **notebooks, "contributing.md": guide}


def included(path: Path, name: str) -> str:
    """Return the marked part of a file.

    Raises:
        PluginError: it has no such part.
    """
    _, begin, rest = path.read_text("utf-8").partition(f"<!-- {name} -->\n")
    part, end, _ = rest.partition(f"<!-- /{name} -->")
    if not (begin and end):
        raise PluginError(f"{path} has nothing between <!-- {name} --> and <!-- /{name} -->")
    return part
