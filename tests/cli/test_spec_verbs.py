"""validate, show, explain, schema, ls, cp."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from cbalign.cli import main
from cbalign.experiment.load import load_experiment

HEAD = "cbalign: 1\nname: mine\ndata:\n  train: {source: openmoji, split: train}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cbalign(*arguments, **extra):
    return CliRunner().invoke(main, arguments, **extra)


def test_validate_says_which_specs_are_valid_on_stdout_and_what_is_wrong_on_stderr():
    Path("good.yaml").write_text(HEAD)
    Path("bad.yaml").write_text(HEAD + "train: {sed: 1}\n")
    result = cbalign("validate", "good.yaml", "bad.yaml")
    assert (result.exit_code, result.stdout) == (2, "good.yaml: valid\n")
    assert "bad.yaml:5:9: `train` has no setting `sed`" in result.stderr
    assert "bad.yaml: 1 mistake" in result.stderr


def test_validate_json_is_one_document_with_places():
    Path("bad.yaml").write_text(HEAD + "train: {sed: 1}\n")
    result = cbalign("validate", "bad.yaml", "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, result.stderr, document["valid"]) == (2, "", False)
    (mistake,) = document["specs"][0]["mistakes"]
    assert {key: mistake[key] for key in ("file", "line", "column", "length", "path", "hint")} == {
        "file": "bad.yaml", "line": 5, "column": 9, "length": 3, "path": "train.sed", "hint": "did you mean `seed`?",
    }  # fmt: skip


def test_validate_marks_the_lines_of_a_pull_request():
    Path("bad.yaml").write_text(HEAD + "train: {schedule: {warmup: 5%%}}\n")
    told = cbalign("validate", "bad.yaml", "--format", "github").stdout
    assert told.startswith("::error file=bad.yaml,line=5,col=28::`train.schedule.warmup` must be text such as")
    assert "5%25%25" in told
    assert told.endswith("%0Ahelp: Length of the warm-up.\n")


def test_validate_checks_the_profiles_too():
    Path("spec.yaml").write_text(HEAD + "profiles: {good: {train: {seed: 1}}, bad: {train: {seed: x}}}\n")
    result = cbalign("validate", "spec.yaml")
    assert result.exit_code == 2
    assert "`train.seed` must be a whole number" in result.stderr
    assert cbalign("validate", "spec.yaml", "--profile", "good").exit_code == 0


def test_validate_tells_the_mistakes_of_all_profiles_and_each_once():
    Path("spec.yaml").write_text(HEAD + "profiles: {a: {train: {seed: x}}, b: {train: {precision: fp8}}}\n")
    told = cbalign("validate", "spec.yaml").stderr
    assert ("`train.seed`" in told, "`train.precision`" in told, "spec.yaml: 2 mistakes" in told) == (True,) * 3


def test_validate_finds_shards_by_their_ranges():
    Path("0.tar").touch()
    Path("spec.yaml").write_text("cbalign: 1\nname: x\ndata:\n  train: {source: webdataset, shards: ['{0..1}.tar']}\n")
    assert "1 of 2 shards are missing" in cbalign("validate", "spec.yaml").stderr
    Path("1.tar").touch()
    assert cbalign("validate", "spec.yaml").exit_code == 0


def test_validate_reads_standard_input():
    assert cbalign("validate", "-", input=HEAD).exit_code == 0
    result = cbalign("validate", "-", input="a: [b")
    assert result.exit_code == 2
    assert "<stdin>:1:4: a list that began with `[` is not closed" in result.stderr


def test_validate_can_leave_data_files_out():
    Path("spec.yaml").write_text("cbalign: 1\nname: x\ndata:\n  train: {source: csv, files: [gone.csv]}\n")
    assert cbalign("validate", "spec.yaml").exit_code == 2
    assert cbalign("validate", "spec.yaml", "--no-files").exit_code == 0


@pytest.mark.parametrize("name", ["nothing.yaml", ".", "no/such/file", "", "a\0b"])
def test_what_is_no_spec_is_said_to_be_none(name):
    result = cbalign("validate", name)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr + result.stdout


def test_the_home_of_nobody_is_a_file_that_is_missing():
    Path("spec.yaml").write_text(HEAD + "init: {run: ~no-such-user/runs/a}\n")
    for spec in ("~no-such-user/spec.yaml", "spec.yaml"):
        result = cbalign("validate", spec)
        assert (result.exit_code, "unexpected" in result.stderr) == (2, False)
        assert "~no-such-user" in result.stderr


def test_show_prints_a_spec_that_stands_alone():
    Path("mine.yaml").write_text("extends: quickstart\nname: mine\ntrain: {seed: 3}\n")
    Path("flat.yaml").write_text(cbalign("show", "mine.yaml").stdout)
    assert "extends" not in Path("flat.yaml").read_text()
    assert load_experiment("flat.yaml").experiment == load_experiment("mine.yaml").experiment


def test_show_resolved_has_every_value_and_origins_says_where_each_is_from():
    Path("mine.yaml").write_text(HEAD + "train: {seed: 3}\n")
    told = cbalign("show", "mine.yaml", "--resolved", "--origins", "--set", "train.clip_norm=2").stdout
    lines = {line.split(":")[0].strip(): line.split("  # ")[-1] for line in told.splitlines()}
    assert (lines["seed"], lines["clip_norm"], lines["joint_dim"]) == ("mine.yaml:5", "--set", "default")
    assert yaml.safe_load(told)["train"]["clip_norm"] == 2.0


def test_show_json_is_one_document():
    document = json.loads(cbalign("show", "quickstart", "--json", "--resolved", "--origins").stdout)
    assert document["spec"]["train"]["optimizer"]["kind"] == "adamw"
    assert document["origins"]["train.optimizer.kind"] == "default"
    assert len(document["fingerprint"]) == 64


def test_explain_tells_all_about_one_setting():
    told = cbalign("explain", "train.optimizer.lr").stdout
    for part in ("Peak learning rate.", "a number above 0", "0.0001", "training: another", "1e-4 (ALBEF)"):
        assert part in told


def test_explain_tells_of_each_kind_that_has_the_setting():
    settings = json.loads(cbalign("explain", "train.schedule.warmup", "--json").stdout)["settings"]
    assert [(each["kind"], each["default"]) for each in settings] == [("cosine", "2000 steps"), ("constant", "0 steps")]


def test_explain_lists_a_section_and_without_a_name_the_whole():
    assert "train.optimizer.eps" in cbalign("explain", "train.optimizer").stdout
    assert "objectives" in cbalign("explain").stdout


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("lr", "train.optimizer.lr"),
        ("train.sed", "train.seed"),
        ("epochs", "train.duration"),
        ("zzz", "cbalign explain"),
    ],
)
def test_explain_suggests_what_was_meant(path, told):
    result = cbalign("explain", path)
    assert result.exit_code == 2
    assert told in result.stderr


def test_schema_is_json():
    assert json.loads(cbalign("schema").stdout)["title"] == "cbalign experiment"


def test_ls_lists_recipes_that_load():
    found = json.loads(cbalign("ls", "--json").stdout)["recipes"]
    names = [recipe["name"] for recipe in found]
    assert "quickstart" in names
    assert all(recipe["about"] and "cbalign " not in recipe["about"] for recipe in found)
    for name in names:
        load_experiment(name, check_files=False)
    assert "quickstart" in cbalign("ls").stdout


def test_cp_copies_a_recipe_that_finds_its_base_and_overwrites_nothing_unasked():
    result = cbalign("cp", "quickstart")
    assert (result.exit_code, result.stdout) == (0, "quickstart.yaml\n")
    assert load_experiment("quickstart.yaml").experiment.name == "quickstart"
    Path("quickstart.yaml").write_text("mine")
    assert cbalign("cp", "quickstart").exit_code == 2
    assert Path("quickstart.yaml").read_text() == "mine"
    assert cbalign("cp", "quickstart", "--force").exit_code == 0
    assert Path("quickstart.yaml").read_text() != "mine"


def test_cp_says_what_it_cannot_do():
    assert "did you mean `quickstart`?" in cbalign("cp", "quickstar").stderr
    assert cbalign("cp", "quickstart", "no/such/folder/x.yaml").exit_code == 3
    assert cbalign("cp", "quickstart", "no/such/folder/x.yaml", "--parents").exit_code == 0
