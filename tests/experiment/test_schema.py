"""The JSON Schema that editors check specs with."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from cbalign.experiment.document import plain_data
from cbalign.experiment.dump import as_data
from cbalign.experiment.load import load_experiment
from cbalign.experiment.reader import read_file, read_node
from cbalign.experiment.recipes import list_recipes
from cbalign.experiment.schema import json_schema

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_json_schema_2020_12():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$id"]


def _parts(node):
    """Every schema inside a schema, with the keywords that it uses."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _parts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _parts(value)


# What the language server behind VS Code's YAML extension knows of every draft.
PORTABLE = {
    *("$schema", "$id", "$ref", "$defs", "title", "description", "default", "examples", "const", "enum", "type"),
    *("properties", "additionalProperties", "required", "items", "minItems", "maxItems", "minLength", "maxLength"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "anyOf", "if", "then", "not"),
}


def test_editors_know_every_keyword_pattern_and_reference():
    names = {name for section in (*SCHEMA["$defs"].values(), SCHEMA) for name in section.get("properties", {})}
    for part in _parts(SCHEMA):
        assert part.keys() <= PORTABLE | names | SCHEMA["$defs"].keys()
        if isinstance(pattern := part.get("pattern"), str):
            assert not re.search(r"\\[AZz]|\(\?P|\(\?<|\(\?\(", pattern), "no such thing in JavaScript"
        if isinstance(target := part.get("$ref"), str):
            assert target.removeprefix("#/$defs/") in SCHEMA["$defs"]


def test_every_section_forbids_unknown_keys_and_every_setting_is_described():
    sections = {name: part for name, part in SCHEMA["$defs"].items() if part["type"] == "object"}
    for name, section in {**sections, "the whole": SCHEMA}.items():
        assert section["additionalProperties"] is False, name
        assert all(_description(setting) for setting in section["properties"].values()), name


def _description(setting):
    """Its own, or that of the section that it is."""
    referred = SCHEMA["$defs"].get(setting.get("$ref", "").rpartition("/")[2], {})
    return setting.get("description") or referred.get("description")


@pytest.mark.parametrize("recipe", list_recipes(), ids=lambda recipe: recipe.name)
def test_recipes_are_valid(recipe):
    VALIDATOR.validate(plain_data(read_node(read_file(recipe.path, recipe.name))))
    VALIDATOR.validate(as_data(load_experiment(recipe.path, check_files=False).experiment))


@pytest.mark.parametrize(
    "spec",
    [
        {"extends": "quickstart"},
        {"extends": ["a.yaml", "b.yaml"], "train": {"schedule": {"warmup": "5 %"}}},
        {"extends": "a", "name": "${env:NAME}", "train": {"seed": "${env:SEED}", "precision": "${env:P}"}},
        {"extends": "a", "profiles": {"debug": {"train": {"seed": 3}}}, "data": {"train": {"render_size": 96}}},
    ],
)
def test_a_file_that_extends_another_may_leave_anything_out(spec):
    VALIDATOR.validate(spec)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "x"},
        {"extends": "a", "trian": {}},
        {"extends": "a", "train": {"lr": 1}},
        {"extends": "a", "train": {"seed": "1"}},
        {"extends": "a", "train": {"optimizer": {"betas": [0.9]}}},
        {"extends": "a", "train": {"seed": "x${env:SEED}"}},
        {"extends": "a", "train": {"precision": "fp8"}},
        {"extends": "a", "train": {"schedule": {"kind": "step"}}},
        {"extends": "a", "profiles": {"debug": {"extends": "b"}}},
        {"extends": []},
    ],
)
def test_mistakes_are_found(spec):
    assert not VALIDATOR.is_valid(spec)


def test_the_schema_in_the_repository_is_fresh():
    committed = Path(__file__).parents[2] / "schema/experiment.json"
    assert json.loads(committed.read_text("utf-8")) == SCHEMA, "run: cbalign schema > schema/experiment.json"
