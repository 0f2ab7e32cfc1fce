"""`cbalign diff`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cbalign.cli import main
from cbalign.spec.dump import dump_yaml
from cbalign.spec.load import load_experiment


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("extends: quickstart\nname: a\ntrain: {batch_size: 64}\n")
    Path("b.yaml").write_text(
        "extends: quickstart\nname: b\nmodel: {codebook: {size: 128}}\nexport: {opset: 18}\ntrain: {batch_size: 256}\n"
    )
    return tmp_path


def diff(*arguments):
    return CliRunner().invoke(main, ["diff", *arguments])


def test_text_groups_by_effect_worst_first():
    result = diff("a.yaml", "b.yaml")
    assert result.exit_code == 1
    told = result.stdout
    order = [told.index(word) for word in ("ARCHITECTURE", "TRAINING", "EXPORT", "LABEL", "DERIVED", "VERDICTS")]
    assert order == sorted(order)
    line = next(line for line in told.splitlines() if "train.batch_size" in line)
    assert line.split() == ["train.batch_size", "64", "→", "256", "+192,", "×4", "a.yaml:3", "→", "b.yaml:5"]
    assert "pairs per optimiser step" in told
    assert "not the prototypes (model.codebook.size)" in told


def test_the_same_is_said_in_one_line_and_exits_with_0():
    result = diff("a.yaml", "a.yaml")
    assert (result.exit_code, result.stdout) == (0, "a.yaml = a.yaml: no differences\n")


@pytest.mark.parametrize(("limit", "code"), [("architecture", 1), ("initialisation", 1), ("training", 1), ("label", 1)])
def test_fail_on_counts_its_class_and_worse_ones(limit, code):
    assert diff("a.yaml", "b.yaml", "--fail-on", limit).exit_code == code


def test_fail_on_lets_milder_differences_pass():
    Path("c.yaml").write_text("extends: a.yaml\nname: c\ntrain: {device: cpu}\n")
    assert diff("a.yaml", "c.yaml").exit_code == 1
    assert diff("a.yaml", "c.yaml", "--fail-on", "runtime").exit_code == 1
    assert diff("a.yaml", "c.yaml", "--fail-on", "export").exit_code == 0


def test_json_has_every_value_unshortened():
    document = json.loads(diff("a.yaml", "b.yaml", "--json").stdout)
    assert (document["same"], document["worst"]) == (False, "architecture")
    found = {each["path"]: each for each in document["differences"]}
    assert found["train.batch_size"] | {"help": ""} == {
        "path": "train.batch_size", "effect": "training", "values": [64, 256], "present": [True, True],
        "origins": ["a.yaml:3", "b.yaml:5"], "delta": 192, "ratio": 4.0, "help": "",
    }  # fmt: skip
    assert len(document["verdicts"]) == 4
    assert [operand["kind"] for operand in document["operands"]] == ["spec", "spec"]


def test_a_patch_is_a_spec_that_is_b():
    patch = diff("a.yaml", "b.yaml", "--format", "patch").stdout
    Path("patch.yaml").write_text(patch)
    assert "quickstart" not in patch
    assert load_experiment("patch.yaml").experiment == load_experiment("b.yaml").experiment


def test_markdown_is_a_table_for_a_pull_request():
    lines = diff("a.yaml", "b.yaml", "--format", "markdown").stdout.splitlines()
    assert "| training | `train.batch_size` | `64` | `256` | +192, ×4 |" in lines
    rows = [line for line in lines if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {6}


def test_only_and_ignore_take_classes_and_paths():
    assert diff("a.yaml", "b.yaml", "--only", "runtime").exit_code == 0
    told = json.loads(diff("a.yaml", "b.yaml", "--ignore", "label", "--ignore", "model", "--json").stdout)
    assert [each["path"] for each in told["differences"]] == ["train.batch_size", "export.opset"]


def test_three_experiments_make_a_table():
    Path("c.yaml").write_text("extends: a.yaml\ntrain: {batch_size: 128}\n")
    told = diff("a.yaml", "b.yaml", "c.yaml").stdout
    line = next(line for line in told.splitlines() if "train.batch_size" in line)
    assert line.split()[1:] == ["64", "256", "128"]


def test_runs_bundles_recipes_and_the_defaults_are_operands(folder):
    resolved = dump_yaml(load_experiment("a.yaml").experiment)
    for name, file in (("run", "resolved.yaml"), ("bundle", "spec.yaml")):
        (folder / name).mkdir()
        (folder / name / file).write_text(resolved)
    (folder / "bundle/manifest.json").write_text("{}")
    assert diff("a.yaml", "run").exit_code == 0
    assert diff("run", "bundle").exit_code == 0
    assert diff("quickstart", "defaults").exit_code == 1
    kinds = json.loads(diff("run", "bundle", "defaults", "--json").stdout)["operands"]
    assert [each["kind"] for each in kinds] == ["run", "bundle", "defaults"]


@pytest.mark.parametrize(
    "operands", [["a.yaml", "nothing.yaml"], ["a.yaml", "."], ["a.yaml"], ["a.yaml", "broken.yaml"]]
)
def test_trouble_exits_with_2_and_says_why(operands):
    Path("broken.yaml").write_text("a: [")
    result = diff(*operands)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr
