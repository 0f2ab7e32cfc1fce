"""Load an `Experiment`: read, compose, override, normalise and validate; the origin of every value is recorded."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cbalign.experiment.compose import compose, with_patch, with_profile
from cbalign.experiment.diagnostics import Diagnostic, InvalidSpec, reading_order
from cbalign.experiment.document import MapNode, Node, Place, child, plain_data
from cbalign.experiment.encoding import undecodable_texts
from cbalign.experiment.environment import interpolate
from cbalign.experiment.expectations import unmet
from cbalign.experiment.experiment import FORMAT, Experiment
from cbalign.experiment.fields import leaves
from cbalign.experiment.files import DISK, Files
from cbalign.experiment.mistakes import explain_mistakes
from cbalign.experiment.normalise import missing_files, normalise, unusable_paths
from cbalign.experiment.overrides import apply_override, parse_override
from cbalign.experiment.recipes import display_name, find_spec, list_recipes
from cbalign.experiment.requirements import unmet_requirements
from cbalign.experiment.shapes import Choice
from cbalign.experiment.spec_file import read_spec
from cbalign.experiment.suggestions import did_you_mean
from cbalign.experiment.task import Task
from cbalign.experiment.unions import report_unusable_parts
from cbalign.parts import TaskSection

ROOT = Choice({"": Experiment})


@dataclass(frozen=True)
class Origin:
    """The origin of a value; `place` is `None` for a default."""

    place: Place | None = None

    def __str__(self) -> str:
        if self.place is None:
            return "default"
        if self.place.source.kind == "option":
            return "--set"
        return f"{self.place.source.name}:{self.place.line}"


@dataclass(frozen=True)
class LoadedExperiment:
    """An experiment with the origins of its values.

    `origins` has an entry for the dotted path of each value (`train.optimizer.lr`, `evaluate.0.top_k`); `path` is the
    requested file; `files` lists all files read, bases first; `profiles` lists the profiles of the spec.
    """

    experiment: Experiment
    origins: Mapping[str, Origin]
    path: Path
    files: tuple[Path, ...] = ()
    profiles: tuple[str, ...] = ()


def load_experiment(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    profiles: Sequence[str] = (),
    patches: Sequence[Path] = (),
    check_files: bool = True,
    environment: Mapping[str, str] | None = None,
    files: Files = DISK,
) -> LoadedExperiment:
    """Load a spec and everything it extends.

    Args:
        path: a file, `-` for standard input, or the name of a recipe.
        overrides: `--set` options: `a.b=value`, `+list=item`, `~a.b`; the last one for a path wins.
        profiles: names of overlays in the spec, applied in this order.
        patches: files of `cbalign diff --format patch`, applied after the profiles.
        check_files: whether the files and folders that the spec names must exist, and the environment variables in
            their names must be set.
        environment: values of `${env:NAME}`; the process environment by default.
        files: the file system that specs are read from; `path` is a file there unless it is the disk.

    Raises:
        SpecError: with every mistake found, each with file, line and column.
    """
    variables = os.environ if environment is None else environment
    file = _file(path) if files is DISK else Path(path)
    composition = compose(file, ROOT, variables, files)
    for profile in profiles:
        composition = replace(composition, tree=with_profile(composition, profile, ROOT))
    for patch in patches:
        composition = with_patch(composition, patch, ROOT)
    for expectation in composition.expectations:
        if mistakes := unmet(expectation, ROOT, lambda tree: _validated(tree, variables, False, ())[0], _origin):
            raise InvalidSpec(mistakes)
    tree, refused = _overridden(composition.tree, overrides)
    experiment, tree = _validated(tree, variables, check_files, refused)
    return LoadedExperiment(
        experiment=experiment,
        origins={dotted: _origin(tree, dotted) for dotted, _, _ in leaves(experiment)},
        path=file,
        files=composition.files,
        profiles=tuple(composition.profiles.entries),
    )


def read_task(path: Path, files: Files = DISK) -> TaskSection:
    """The task of a resolved spec, without reading the rest of it.

    Args:
        path: a spec that extends nothing, such as that of a run or bundle.
        files: the file system that it is read from.

    Raises:
        SpecError: the file is damaged, or the task is that of a plug-in that is not installed.
    """
    node = read_spec(path, files, ROOT)
    data = plain_data(node)
    task = data.get("task") if isinstance(data, dict) else None
    try:
        found: TaskSection = TypeAdapter(Task).validate_json(json.dumps(task))
        return found
    except ValidationError:
        return load_experiment(path, check_files=False, files=files).experiment.task  # with its message


def _file(path: str | Path) -> Path:
    found = find_spec(str(path))
    if found is not None:
        return found
    target = Path(path)
    if target.is_dir():
        raise InvalidSpec([Diagnostic(f"{display_name(target)} is a folder; give the spec file in it")])
    near = [file.name for file in target.parent.glob("*.y*ml")] if target.parent.is_dir() else []
    hint = did_you_mean(target.name, near) or did_you_mean(str(path), [recipe.name for recipe in list_recipes()])
    message = f"no file {path}, and no recipe of that name"
    raise InvalidSpec([Diagnostic(message, hint=hint or "`cbalign ls` lists the recipes")])


def _overridden(tree: MapNode, overrides: Sequence[str]) -> tuple[MapNode, list[Diagnostic]]:
    """Apply the valid overrides; return the tree and the mistakes in the others."""
    mistakes: list[Diagnostic] = []
    for text in overrides:
        try:
            tree = apply_override(tree, parse_override(text, ROOT), ROOT)
        except InvalidSpec as error:
            mistakes.extend(error.diagnostics)
    return tree, mistakes


def _validated(
    tree: MapNode, variables: Mapping[str, str], check_files: bool, refused: Sequence[Diagnostic]
) -> tuple[Experiment, MapNode]:
    mistakes: list[Diagnostic] = []
    report_unusable_parts()
    interpolated = interpolate(tree, variables, mistakes)
    assert isinstance(interpolated, MapNode), "interpolation keeps the shape of a tree"
    tree, paths = normalise(interpolated, ROOT)
    _refuse_other_format(tree)
    if not check_files:
        # Data paths of another machine may name variables that are not set here.
        elsewhere = [named.node.place for named in paths]
        mistakes = [each for each in mistakes if each.unset_variable is None or each.place not in elsewhere]
    mistakes.extend(unusable_paths(paths))
    mistakes.extend(undecodable_texts(tree, [each.place for each in mistakes if each.place is not None]))
    if check_files:
        wrong_places = [mistake.place for mistake in mistakes]
        mistakes.extend(mistake for mistake in missing_files(paths) if mistake.place not in wrong_places)
    lacking = list(unmet_requirements(tree))
    mistakes.extend([*lacking, *refused])
    try:
        text = json.dumps(plain_data(tree), ensure_ascii=False)
        experiment = Experiment.model_validate_json(text.encode("utf-8", "replace"))  # undecodable texts are mistakes
    except ValidationError as error:
        said = {id(mistake.place) for mistake in mistakes}
        wrong = explain_mistakes(error.errors(include_url=False), tree, ROOT)
        # A distribution that is missing explains why its parts are unknown.
        wrong = [mistake for mistake in wrong if not (lacking and mistake.unknown_part)]
        mistakes.extend(mistake for mistake in wrong if id(mistake.place) not in said)
        raise InvalidSpec(_variables_once(mistakes)) from error
    if mistakes:
        raise InvalidSpec(_variables_once(mistakes))
    return experiment, tree


def _variables_once(mistakes: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Mention each variable that is not set once, at its first place."""
    counts = Counter(each.unset_variable for each in mistakes if each.unset_variable is not None)
    found: list[Diagnostic] = []
    for each in sorted(mistakes, key=reading_order):
        count = 1 if each.unset_variable is None else counts.pop(each.unset_variable, 0)
        more = f"; {count} settings name it" if count > 1 else ""
        if count:
            found.append(replace(each, message=f"{each.message}{more}"))
    return found


def _refuse_other_format(tree: MapNode) -> None:
    """Reject a spec of another format version, which would fail with many unrelated messages."""
    node = tree.get("cbalign")
    version = plain_data(node) if node is not None else FORMAT
    if isinstance(version, bool | float) and node is not None:  # which Python counts as equal to a whole number
        message = f"`cbalign` must be {FORMAT}, a whole number, not {json.dumps(version)}"
        raise InvalidSpec([Diagnostic(message, node.place, "cbalign", hint=f"write `cbalign: {FORMAT}`")])
    if isinstance(version, int) and not isinstance(version, bool) and version != FORMAT and node is not None:
        message = f"the spec has format {version}; this cbalign reads format {FORMAT}"
        hint = "install a newer cbalign" if version > FORMAT else None
        raise InvalidSpec([Diagnostic(message, node.place, "cbalign", hint=hint)])


def _origin(tree: MapNode, dotted: str) -> Origin:
    node: Node | None = tree
    for step in dotted.split("."):
        node = child(node, step) if node is not None else None
    if node is None or node.place.source.kind == "default":
        return Origin()
    return Origin(node.place)
