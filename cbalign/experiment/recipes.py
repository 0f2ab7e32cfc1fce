"""The recipes included in cbalign, and the resolution of command-line words to spec files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cbalign

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Recipe:
    """An included spec. `about` is the first sentence of its first comment."""

    name: str
    path: Path
    about: str


def recipes_folder() -> Path:
    """Return the folder `experiments/` in the wheel, or next to the package in a checkout."""
    package = Path(cbalign.__file__).parent
    shipped = package / "experiments"
    return shipped if shipped.is_dir() else package.parent / "experiments"


def list_recipes() -> list[Recipe]:
    """List all recipes by name (`quickstart`, `base/openmoji`), those in subfolders last."""
    folder = recipes_folder()
    paths = (path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    found = [Recipe(path.relative_to(folder).with_suffix("").as_posix(), path, _first_sentence(path)) for path in paths]
    return sorted(found, key=lambda recipe: (recipe.name.count("/"), recipe.name))


def _first_sentence(path: Path) -> str:
    words: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").strip()
        if text.startswith("yaml-language-server:"):
            continue
        if not text or line.startswith("#   "):  # an indented command
            break
        words.append(text)
    return re.split(r"(?<=\.)\s", " ".join(words), maxsplit=1)[0].removesuffix(":")


def candidates(reference: str, folder: Path) -> Iterator[Path]:
    """Yield the paths that `reference` may mean: below `folder`, then a recipe; the suffix is optional."""
    if not reference or "\0" in reference:
        return
    for place in (folder, recipes_folder()):
        for suffix in ("", *SUFFIXES):
            yield place / f"{reference}{suffix}"


def find_spec(name: str) -> Path | None:
    """Find the spec that a command-line word refers to.

    A path takes precedence, then `experiments/NAME.yaml` in the working directory, then a recipe.
    """
    path = expand_home(name)
    if name == "-" or "\0" in name or (os.path.exists(path) and not path.is_dir()):
        return path
    return next((path for path in candidates(name, Path.cwd() / "experiments") if os.path.isfile(path)), None)


def expand_home(name: str) -> Path:
    """Expand a leading `~` or `~user`; return the path unchanged if there is no such user."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def display_name(path: Path) -> str:
    """Return the name of a file for messages: relative to the working directory or the recipes, else the full path."""
    if str(path) == "-":
        return "<stdin>"
    absolute = path.absolute()
    for prefix, folder in (("", Path.cwd()), ("recipe:", recipes_folder().absolute())):
        if absolute.is_relative_to(folder):
            return f"{prefix}{absolute.relative_to(folder).as_posix()}"
    return str(path)
