"""The JSON Schema that editors check specs with."""

import json
from pathlib import Path

import jsonschema
import pytest

from cbalign.spec.document import plain_data
from cbalign.spec.reader import read_file, read_node
from cbalign.spec.recipes import recipes
from cbalign.spec.schema import json_schema

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_json_schema_2020_12():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$id"]


def test_every_section_forbids_unknown_keys_and_every_setting_is_described():
    for name, section in {**SCHEMA["$defs"], "the whole": SCHEMA}.items():
        assert section["additionalProperties"] is False, name
        assert all(_description(setting) for setting in section["properties"].values()), name


def _description(setting):
    """Its own, or that of the section that it is."""
    referred = SCHEMA["$defs"].get(setting.get("$ref", "").rpartition("/")[2], {})
    return setting.get("description") or referred.get("description")


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.name)
def test_recipes_are_valid(recipe):
    VALIDATOR.validate(plain_data(read_node(read_file(recipe.path, recipe.name))))


@pytest.mark.parametrize(
    "spec",
    [
        {"extends": "quickstart"},
        {"extends": ["a.yaml", "b.yaml"], "train": {"schedule": {"warmup": "5 %"}}},
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
