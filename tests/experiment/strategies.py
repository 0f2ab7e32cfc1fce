"""Experiments for hypothesis: a few settings anywhere, of any kind and value that the sections' declarations allow."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import strategies as st
from pydantic import ValidationError

from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import FoundSetting, every, leaves, settings
from cbalign.experiment.load import LoadedExperiment, Origin
from cbalign.experiment.shapes import Choice, Leaf

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def _values(leaf: Leaf):
    options = [st.sampled_from(leaf.choices)] if leaf.choices else []
    for kind in leaf.kinds:
        if leaf.pattern and "steps" in leaf.pattern:
            options.append(st.builds("{} {}".format, st.integers(1, 60), st.sampled_from(["steps", "epochs"])))
        elif leaf.pattern:
            options.append(st.sampled_from(leaf.examples))
        else:
            options.append(_KINDS[kind])
    if leaf.item:
        options.append(st.lists(_values(leaf.item), min_size=leaf.length or 1, max_size=leaf.length or 3))
    return st.one_of(*options, *([st.none()] if leaf.optional else []))


_KINDS = {
    "text": TEXTS,
    "whole number": st.integers(1, 500),
    "number": st.floats(0.001, 0.9),
    "true or false": st.booleans(),
}
LEAVES = [
    f for f in every(Experiment) if isinstance(f.setting.shape, Leaf) and "[]" not in f.path and f.path != "cbalign"
]
VALUES = {
    id(found): st.just(["pydantic>=2", "packaging"]) if found.path == "requires" else _values(found.setting.shape)
    for found in LEAVES
}
EVALUATIONS = st.fixed_dictionaries(
    {"kind": st.just("retrieval"), "on": st.just("train")},
    optional={"top_k": st.integers(1, 9), "protocols": st.just(["dual", "code"])},
) | st.fixed_dictionaries(
    {"kind": st.just("zero_shot"), "templates": st.just(["a {}"])},
    optional={"images": st.sampled_from(["pets", "cars"]), "on": st.just("train"), "classes": st.just(["cat"])},
)


@st.composite
def experiments(draw) -> Experiment:
    """A valid experiment."""
    data: dict = {"cbalign": 1, "name": "generated", "data": {"train": {"source": "openmoji", "split": "train"}}}
    data["model"] = {"vision": {"kind": "timm"}, "text": {"kind": "bert"}}
    for found in draw(st.lists(st.sampled_from(LEAVES), max_size=8)):
        changed = json.loads(json.dumps(data))
        _put(changed, found, draw(VALUES[id(found)]))
        data = changed if _is_valid(changed) else data
    evaluated = {**data, "evaluate": draw(st.lists(EVALUATIONS, max_size=3))}
    return Experiment.model_validate_json(json.dumps(evaluated if _is_valid(evaluated) else data))


def _put(data: dict, found: FoundSetting, value: object) -> None:
    """Set one value; where it belongs to another kind of its section, make the section of that kind."""
    *above, name = found.path.split(".")
    section = data
    shape = Choice({"": Experiment})
    for step in above:
        owner = shape.section(section.get(shape.discriminator or ""))
        if step not in settings(owner):
            return  # a section of a kind that the section above it is not
        shape = settings(owner)[step].shape
        kind = found.variant if step == above[-1] else None
        if not isinstance(section.get(step), dict) or (kind and section[step].get(shape.discriminator) != kind):
            section[step] = _bare(shape, kind)
        section = section[step]
    if not shape.discriminator or name != shape.discriminator:
        section[name] = value


def _bare(shape: Choice, kind: str | None) -> dict:
    """The least that a section of that kind has to say."""
    needed = {
        "split": "train",
        "files": ["pairs"],
        "root": "pictures",
        "file": "pairs",
        "shards": ["pairs.tar"],
        "questions": ["asked.json"],
        "key": "given",
        "architecture": "org/name",
        "blocks": 1,
    }
    section = shape.section(kind)
    bare = {n: needed[n] for n, s in settings(section).items() if s.required and n != shape.discriminator}
    return {shape.discriminator: kind, **bare} if kind else bare


def _is_valid(data: dict) -> bool:
    try:
        Experiment.model_validate_json(json.dumps(data))
    except ValidationError:
        return False
    return True


def loaded(experiment: Experiment) -> LoadedExperiment:
    """An experiment that came from nowhere."""
    return LoadedExperiment(experiment, {path: Origin() for path, _, _ in leaves(experiment)}, Path("generated"))
