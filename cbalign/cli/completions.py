"""Shell completions: specs, runs and bundles, settings, profiles.

Everything is read from files and annotations; no slow package is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from cbalign.experiment.fields import FoundSetting
    from cbalign.experiment.shapes import Shape

AT_MOST = 200
_DEPTHS = ("", "*/", "*/*/")


def specs(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete YAML files below the typed path, and recipes."""
    return [*_files(incomplete, "*.yaml"), *_files(incomplete, "*.yml"), *recipes(ctx, parameter, incomplete)]


def recipes(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of recipes."""
    from cbalign.experiment.recipes import list_recipes

    return [CompletionItem(each.name, help=each.about) for each in list_recipes() if each.name.startswith(incomplete)]


def results(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete folders of runs and bundles, and checkpoints after the name of a run."""
    found = [path.removesuffix("/manifest.json") for path in _below(incomplete, "*/manifest.json")]
    saved = [path.removesuffix("/state.json") for path in _below(incomplete, "step-*/state.json")]
    return [CompletionItem(path) for path in (*found, *saved)]


def metrics(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the metrics that were evaluated while the run on the command line was trained."""
    from cbalign.engine.metrics_file import read_records
    from cbalign.errors import CbalignError

    given = [*ctx.args, *filter(None, (ctx.params.get("run"), ctx.params.get("target")))]
    names: dict[str, None] = {}
    for word in given[:1]:
        try:
            records = read_records(Path(word) / "metrics.jsonl")
        except CbalignError:
            continue
        names = dict.fromkeys(name for each in records if each.kind == "evaluation" for name in each.values)
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def runs(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of runs, `latest`, and paths of run directories."""
    folder = Path(ctx.params.get("runs_dir") or "runs")
    names = ["latest", *sorted(path.parent.name for path in folder.glob("*/manifest.json"))]
    named = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return [*named, *(results(ctx, parameter, incomplete) if "/" in incomplete else [])]


def specs_and_results(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete specs, runs and bundles."""
    return [*results(ctx, parameter, incomplete), *specs(ctx, parameter, incomplete)]


def protocols(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Protocols of all kinds of evaluations."""
    from cbalign.experiment.fields import settings
    from cbalign.experiment.shapes import Leaf
    from cbalign.experiment.unions import usable
    from cbalign.parts.registry import EVALUATIONS

    found: list[CompletionItem] = []
    for kind, section in usable(EVALUATIONS).items():
        setting = settings(section).get("protocols")
        if setting is not None and isinstance(setting.shape, Leaf) and setting.shape.item is not None:
            found += [CompletionItem(str(choice), help=kind) for choice in setting.shape.item.choices]
    return [item for item in found if item.value.startswith(incomplete)]


def evaluations(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete kinds of evaluations."""
    from cbalign.parts.registry import EVALUATIONS, registry

    parts = registry().of(EVALUATIONS).values()
    return [CompletionItem(part.name, help=part.about) for part in parts if part.name.startswith(incomplete)]


def paths(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete dotted paths of settings and sections."""
    found = {each.path.replace(".[]", ""): each.setting.help for each in _every()}
    return [CompletionItem(path, help=text) for path, text in found.items() if path.startswith(incomplete)]


def overrides(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete `--set`: `a.b=`, `+list=`, `~a.b`, and after `=` the values of the setting."""
    sign = incomplete[:1] if incomplete[:1] in ("+", "~") else ""
    return [CompletionItem(f"{sign}{item}") for item in _assignments(incomplete.removeprefix(sign), sign)]


def values(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete `PATH=VALUE` and `PATH=VALUE,VALUE`: settings, and after `=` and each comma their values."""
    before, comma, _ = incomplete.rpartition(",")
    path = incomplete.partition("=")[0]
    begun = f"{path}={incomplete[len(before) + 1 :]}" if comma else incomplete
    done = f"{before}," if comma else ""
    return [CompletionItem(done + item.removeprefix(f"{path}=" if comma else "")) for item in _assignments(begun)]


def effects_and_paths(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete effect classes, and dotted paths of settings and sections."""
    from cbalign.parts.section import Effect

    effects = [CompletionItem(effect.value, help=effect.meaning) for effect in Effect]
    return [*(each for each in effects if each.value.startswith(incomplete)), *paths(ctx, parameter, incomplete)]


def gpus(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of GPUs."""
    from cbalign.lab.plan.gpus import GPUS

    return [CompletionItem(name) for name in GPUS if name.startswith(incomplete)]


def profiles(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete profiles of the spec on the command line."""
    from cbalign.errors import SpecError
    from cbalign.experiment.load import load_experiment

    # While an option lacks its value, click leaves the arguments before it in `ctx.args`.
    words = [*ctx.args, *filter(None, (ctx.params.get("spec"), ctx.params.get("target")))]
    try:
        names = load_experiment(words[0], check_files=False).profiles if words else ()
    except SpecError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def files(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete any file, by the shell itself."""
    return [CompletionItem(incomplete, type="file")]


def _files(incomplete: str, pattern: str) -> list[CompletionItem]:
    return [CompletionItem(path) for path in _below(incomplete, pattern)]


def _below(incomplete: str, pattern: str) -> Iterator[str]:
    """Paths that begin with the typed text, up to two folders deeper, as the user would write them."""
    folder = incomplete[: incomplete.rfind("/") + 1]
    from cbalign.experiment.recipes import expand_home

    root = expand_home(folder)
    found = chain.from_iterable(root.glob(f"{depth}{pattern}") for depth in _DEPTHS)
    written = (folder + path.relative_to(root).as_posix() for path in found)
    visible = (path for path in written if path.startswith(incomplete) and "/." not in f"/{path[len(folder) :]}")
    return iter(sorted(islice(visible, AT_MOST)))


def _every() -> Iterator[FoundSetting]:
    from cbalign.experiment.experiment import Experiment
    from cbalign.experiment.fields import every

    return every(Experiment)


def _assignments(begun: str, sign: str = "") -> list[str]:
    """Complete `path` to paths of settings, or `path=value` to values of that setting."""
    path, equals, value = begun.partition("=")
    shapes = {each.path: each.setting.shape for each in _every() if "[]" not in each.path}
    if equals:
        found = _values(shapes[path]) if path in shapes else []
        return [f"{path}={each}" for each in found if each.startswith(value)]
    fitting = (name for name, shape in shapes.items() if name.startswith(path) and _takes(shape, sign))
    return [f"{name}{'' if sign == '~' else '='}" for name in fitting]


def _takes(shape: Shape, sign: str) -> bool:
    """Whether a setting of that shape can be extended (`+`), reset (`~`) or set."""
    from cbalign.experiment.shapes import Choice, Items

    is_list = isinstance(shape, Items) or (not isinstance(shape, Choice) and shape.item is not None)
    return is_list if sign == "+" else sign == "~" or not isinstance(shape, Choice)


def _values(shape: Shape) -> list[str]:
    from cbalign.experiment.shapes import Leaf

    if not isinstance(shape, Leaf):
        return []
    values = [str(choice) for choice in (shape.choices or (shape.item.choices if shape.item else ()))]
    values += ["true", "false"] if "true or false" in shape.kinds else list(shape.examples)
    return [*values, "null"] if shape.optional else values
