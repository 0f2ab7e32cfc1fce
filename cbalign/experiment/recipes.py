"""The recipes that come with cbalign, and how a word on the command line becomes the file it means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cbalign

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Recipe:
    """A spec to start from. `about` is the first sentence of its first comment."""

    name: str
    path: Path
    about: str


def recipes_folder() -> Path:
    """`experiments/` in the wheel, or beside the package in a checkout."""
    package = Path(cbalign.__file__).parent
    shipped = package / "experiments"
    return shipped if shipped.is_dir() else package.parent / "experiments"


def recipes() -> list[Recipe]:
    """All recipes by name (`quickstart`, `base/openmoji`), those of subfolders last."""
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
        if not text or line.startswith("#   "):  # a command stands indented
            break
        words.append(text)
    return re.split(r"(?<=\.)\s", " ".join(words), maxsplit=1)[0].removesuffix(":")


def candidates(reference: str, folder: Path) -> Iterator[Path]:
    """Paths that `reference` can mean, best first: below `folder`, or else a recipe; the suffix may be left out."""
    if not reference or "\0" in reference:
        return
    for place in (folder, recipes_folder()):
        for suffix in ("", *SUFFIXES):
            yield place / f"{reference}{suffix}"


def find_spec(name: str) -> Path | None:
    """The spec that a word on the command line means.

    A path wins, then `experiments/NAME.yaml` here, then a recipe of that name.
    """
    path = expand_home(name)
    if name == "-" or "\0" in name or (path.exists() and not path.is_dir()):
        return path
    return next((path for path in candidates(name, Path.cwd() / "experiments") if path.is_file()), None)


def expand_home(name: str) -> Path:
    """A path with `~` or `~user` at its start replaced by that home, or as it is where there is no such user."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def display_name(path: Path) -> str:
    """What messages call a file: relative to the working directory, or to the recipes, or else its whole path."""
    if str(path) == "-":
        return "<stdin>"
    absolute = path.absolute()
    for prefix, folder in (("", Path.cwd()), ("recipe:", recipes_folder().absolute())):
        if absolute.is_relative_to(folder):
            return f"{prefix}{absolute.relative_to(folder).as_posix()}"
    return str(path)
