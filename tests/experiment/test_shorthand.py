"""A kind by name stands for its section with defaults."""

import jsonschema
import pytest
import yaml

from cbalign.experiment.load import load_experiment
from cbalign.experiment.schema import json_schema

LONG = """\
model: {codebook: {transport: {solver: sinkhorn}}}
train: {schedule: {kind: constant}}
export: {targets: [{kind: triton}]}
log: {to: [{kind: tensorboard}]}
task: {kind: retrieval}
"""
SHORT = """\
model: {codebook: {transport: sinkhorn}}
train: {schedule: "constant"}
export: {targets: [triton]}
log: {to: [tensorboard]}
task: retrieval
"""


def test_a_name_means_the_section_of_that_kind(load):
    assert load(SHORT).experiment == load(LONG).experiment


def test_its_kind_comes_from_the_place_of_the_name(load):
    origins = load(SHORT).origins
    assert str(origins["model.codebook.transport.solver"]) == "spec.yaml:5"
    assert str(origins["model.codebook.transport.epsilon"]) == "default"
    assert str(origins["export.targets.0.kind"]) == "spec.yaml:7"


def test_it_composes_as_the_section_does(load):
    base = "cbalign: 1\nname: base\ndata: {train: {source: openmoji, split: train}}\ntrain: {schedule: constant}\n"
    above = "extends: base.yaml\ntrain: {schedule: {warmup: 7 steps}}\nprofiles: {other: {train: {schedule: cosine}}}\n"
    schedule = load(above, base=base).experiment.train.schedule
    assert (schedule.kind, schedule.warmup) == ("constant", "7 steps")
    other = load_experiment("spec.yaml", profiles=["other"]).experiment.train.schedule
    assert (other.kind, other.warmup) == ("cosine", "2000 steps")


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("train.schedule=constant", "train.schedule.kind", "constant"),
        ("+export.targets=triton", "export.targets.0.kind", "triton"),
        ("export.targets=[triton]", "export.targets.0.kind", "triton"),
        ("model={codebook: {transport: sinkhorn}}", "model.codebook.transport.solver", "sinkhorn"),
        ("model.codebook.transport=${env:SOLVER}", "model.codebook.transport.solver", "sinkhorn"),
    ],
)
def test_options_take_it_too(load, override, path, value):
    loaded = load("", override, environment={"SOLVER": "sinkhorn"})
    found = loaded.experiment
    for step in path.split("."):
        found = found[int(step)] if step.isdecimal() else getattr(found, step)
    assert found == value
    assert str(loaded.origins[path]) == "--set"


def test_editors_accept_it():
    schema = json_schema()
    whole = yaml.safe_load("cbalign: 1\nname: x\ndata: {train: {source: openmoji, split: train}}\n" + SHORT)
    jsonschema.validate(whole, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**whole, "train": {"schedule": "constnt"}}, schema)
