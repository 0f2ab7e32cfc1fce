"""Changed specs: recipes, valid specs of every kind of part, and the wrong ones of the ordinary tests.

A changed spec is refused with bounded messages whose places exist in the file, or it is accepted. Then what `cbalign
show` prints is the same experiment, and `cbalign diff` finds no difference.
"""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path

from cbalign.experiment.diagnostics import InvalidSpec
from cbalign.experiment.diff import compare_experiments
from cbalign.experiment.dump import dump_yaml, experiment_fingerprint, inline
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import leaves
from cbalign.experiment.load import LoadedExperiment, load_experiment
from tests.experiment.wrong_specs import WRONG
from tests.trials.edits import HOSTILE
from tests.trials.mutation import Base, Mutation, require
from tests.trials.trial import check_message

RECIPES = Path(__file__).parents[2] / "experiments"
LONGEST = 3_500
"""Characters about one mistake, with its place and hints."""


class Specs(Mutation):
    """Changed specs."""

    name, full = "specs", 3_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._copy = folder / "experiments"
        shutil.copytree(RECIPES, self._copy)

    def bases(self) -> list[Base]:
        """Recipes, what they resolve to, and wrong specs."""
        return _bases()

    def judge(self, base: Base, files: dict[str, bytes], number: int) -> str:
        """Load a spec, sometimes with `--set`."""
        ((name, content),) = files.items()
        path = self._copy / name
        path.write_bytes(content)
        overrides = _overrides(random.Random(number)) if number % 3 == 0 else ()
        try:
            found = load_experiment(path, overrides, check_files=number % 5 == 0, environment={"HOME": "/home/x"})
        except InvalidSpec as error:
            self._check(error)
            return "refused: InvalidSpec"
        finally:
            path.write_bytes(base.files[name])
        self._round_trip(found)
        return "accepted"

    def _check(self, error: InvalidSpec) -> None:
        require(len(error.diagnostics) > 0, "an error without a mistake")
        for mistake in error.diagnostics:
            text = mistake.as_text()
            check_message(text)
            require(len(text) <= LONGEST, f"a mistake of {len(text):,} characters: {text[:300]}")
            mistake.as_github()
            mistake.as_data()
            place = mistake.place
            if place is not None and place.source.kind == "file":
                require(1 <= place.line <= max(1, len(place.source.lines) + 1), f"no line {place.line}: {text[:300]}")

    def _round_trip(self, found: LoadedExperiment) -> None:
        text = dump_yaml(found.experiment)
        resolved = self.folder / "resolved.yaml"
        resolved.write_text(text, encoding="utf-8")
        # What is resolved has no variables left, and paths that are relative to its own folder.
        again = load_experiment(resolved, check_files=False, environment={})
        require(again.experiment == found.experiment, "the dump is another experiment")
        require(experiment_fingerprint(again.experiment) == experiment_fingerprint(found.experiment), "a fingerprint")
        require(compare_experiments([found, again]).differences == (), "a difference between a spec and its dump")
        require(dump_yaml(again.experiment) == text, "the dump of a dump differs")


@cache
def _bases() -> list[Base]:
    recipes = sorted(RECIPES.glob("**/*.yaml"))
    made = [Base(path.stem, {str(path.relative_to(RECIPES)): path.read_bytes()}) for path in recipes]
    made += [Base(f"{name}, resolved", {"spec.yaml": text.encode()}) for name, text, _ in _resolved()[::3]]
    made *= 5  # as often as the wrong ones
    for name, wrong in WRONG.items():
        content = wrong.text if isinstance(wrong.text, bytes) else wrong.text.encode()
        if len(content) < 20_000:
            made.append(Base(f"wrong: {name}", {"spec.yaml": content}))
    return made


@cache
def _resolved() -> list[tuple[str, str, Experiment]]:
    """Name, dump and experiment of each recipe that is complete."""
    found = []
    for path in sorted(RECIPES.glob("**/*.yaml")):
        with suppress(InvalidSpec):
            experiment = load_experiment(path, check_files=False).experiment
            found.append((path.stem, dump_yaml(experiment), experiment))
    return found


@cache
def _values() -> dict[str, list[object]]:
    """Values of each setting in recipes."""
    found: dict[str, list[object]] = {}
    for _, _, experiment in _resolved():
        for path, value, _ in leaves(experiment):
            if value not in found.setdefault(path, []):
                found[path].append(value)
    return found


def _overrides(chance: random.Random) -> tuple[str, ...]:
    """Options of `--set`: three of four are values of recipes."""
    made = []
    for _ in range(chance.randint(1, 3)):
        path = chance.choice(list(_values()))
        if chance.random() < 0.75:
            value = chance.choice(_values()[path])
            made.append(f"{path}={inline(list(value) if isinstance(value, tuple) else value)}")
        else:
            text = str(chance.choice(HOSTILE))[:2_000]
            made.append(
                chance.choice([f"{path}={text}", f"+{path}={text}", f"~{path}", path, f"{path}.x={text}", text])
            )
    return tuple(made)
