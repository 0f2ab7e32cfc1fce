"""Patches: made by `cbalign diff --format patch`, applied by `extends` or by `cbalign show --patch`."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cbalign.cli import main
from cbalign.experiment.load import load_experiment

A = "extends: quickstart\nname: a\ntrain: {batch_size: 64}\n"
B = "extends: quickstart\nname: b\ntrain: {batch_size: 128, schedule: {kind: constant}}\n"


def cbalign(*arguments):
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture(autouse=True)
def patch(tmp_path, monkeypatch):
    """`change.yaml` makes b.yaml of a.yaml."""
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(A)
    Path("b.yaml").write_text(B)
    Path("change.yaml").write_text(cbalign("diff", "a.yaml", "b.yaml", "--format", "patch").stdout)


def test_a_patch_is_a_spec_of_its_own():
    assert load_experiment("change.yaml").experiment == load_experiment("b.yaml").experiment
    assert cbalign("validate", "change.yaml").exit_code == 0


def test_a_patch_applies_to_a_spec_that_changed_elsewhere():
    Path("other.yaml").write_text(A + "export: {opset: 18}\n")
    patched = cbalign("show", "other.yaml", "--patch", "change.yaml")
    assert patched.exit_code == 0
    Path("patched.yaml").write_text(patched.stdout)
    told = cbalign("diff", "b.yaml", "patched.yaml", "--json").stdout
    assert '"export.opset"' in told
    assert '"train.batch_size"' not in told


def test_a_default_written_out_is_what_the_patch_expects():
    Path("a.yaml").write_text(A.replace("{batch_size", "{schedule: {kind: cosine}, batch_size"))
    assert load_experiment("change.yaml").experiment == load_experiment("b.yaml").experiment


@pytest.mark.parametrize("how", [["validate", "change.yaml"], ["show", "a.yaml", "--patch", "change.yaml"]])
def test_a_patch_whose_ground_has_changed_is_refused_with_both_places(how):
    Path("a.yaml").write_text(A.replace("64", "32"))
    result = cbalign(*how)
    assert result.exit_code == 2
    said = result.stdout + result.stderr
    assert "the patch no longer applies: `train.batch_size` was 64 when it was made and now is 32 (a.yaml:3)" in said
    assert "change.yaml:5:17" in said


def test_a_patch_that_is_applied_already_is_refused():
    assert cbalign("show", "b.yaml", "--patch", "change.yaml").exit_code == 2


def test_a_section_of_another_kind_is_told_once():
    Path("a.yaml").write_text(A.replace("{batch_size", "{schedule: {kind: constant}, batch_size"))
    result = cbalign("show", "a.yaml", "--patch", "change.yaml")
    assert "`train.schedule.kind` was cosine when it was made and now is constant (a.yaml:3)" in result.stderr
    assert "final_lr" not in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("expects: {train: {seed: 0}}\ncbalign: 1\n", "`expects` in a file that extends nothing"),
        ("extends: a.yaml\nexpects: 3\n", "`expects` must be a section"),
        ("extends: a.yaml\nexpects: {trian: {seed: 0}}\n", "trian"),
        ("extends: gone.yaml\n", "no file `gone.yaml`"),
    ],
)
def test_a_malformed_patch_is_refused(text, said):
    Path("change.yaml").write_text(text)
    result = cbalign("show", "change.yaml")
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_patch_that_is_not_there_is_one_message():
    assert cbalign("show", "a.yaml", "--patch", "gone.yaml").exit_code == 2
