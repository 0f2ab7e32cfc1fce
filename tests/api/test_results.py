"""Evaluation, export and comparison in Python."""

import json

import pytest
from click.testing import CliRunner

import cbalign
from cbalign.cli import main
from cbalign.data import memory
from cbalign.errors import CbalignError, SpecError, UsageError
from tests.api.conftest import SPEC, make_pairs


def test_evaluate_on_the_evaluations_of_the_spec(run, run_model, pairs):
    result = cbalign.evaluate(cbalign.Run(run.path), device="cpu", data=pairs[::4], on="validation", bootstrap=0)
    assert set(result.metrics) >= {"validation/dual/image_to_text/r1", "validation/rerank/text_to_image/r1"}
    assert repr(result).count("validation") >= 1
    assert "<table>" in result._repr_html_()
    data = json.loads(json.dumps(result.to_dict()))
    assert data["step"] == 4
    assert data["subject"] == str(run.path)
    assert {"results", "published", "versions"} <= data.keys()


def test_evaluate_a_run_and_its_bundle_alike(run_model, bundle_model, pairs):
    one, other = (
        cbalign.evaluate(model, data=pairs, protocols=["dual", "rerank"], top_k=4, bootstrap=0)
        for model in (run_model, bundle_model)
    )
    assert one.metrics == pytest.approx(other.metrics, abs=6)
    assert {result.split for result in one.results} == {"test"}


def test_one_protocol_may_be_a_text(run_model, pairs):
    result = cbalign.evaluate(run_model, data=pairs[:6], protocols="dual", bootstrap=0, progress=True)
    assert {name.split("/")[1] for name in result.metrics} == {"dual"}


def test_a_bundle_is_not_exported_again(bundle):
    with pytest.raises(UsageError, match="is already a bundle") as caught:
        cbalign.export(bundle)
    assert "Export the run" in caught.value.remedy


def test_remedies_are_in_python(run, bundle):
    with pytest.raises(UsageError) as caught:
        cbalign.export(run, bundle.path)
    assert "`force=True`" in caught.value.remedy
    assert "--" not in str(caught.value)


def test_evaluate_on_a_file(run_model, folder, tmp_path):
    lines = [{"image": f"{i}.png", "caption": f"thing {i}"} for i in range(6)]
    path = folder / "pairs.json"
    path.write_text(json.dumps(lines))
    result = cbalign.evaluate(run_model, on=str(path), protocols=("dual",), bootstrap=0)
    assert all("/dual/" in name for name in result.metrics)
    saved = result.save(tmp_path / "result.json")
    assert json.loads(saved.read_text())["results"]


def test_evaluate_keeps_results_when_asked(old_run):
    path = old_run("pretrain")
    before = {each.name: each.stat().st_mtime_ns for each in (path / "evaluation").iterdir()}
    cbalign.evaluate(path, device="cpu")
    assert {each.name: each.stat().st_mtime_ns for each in (path / "evaluation").iterdir()} == before
    cbalign.evaluate(path, device="cpu", keep=True)
    assert {each.name: each.stat().st_mtime_ns for each in (path / "evaluation").iterdir()} != before


def test_evaluate_other_tasks(old_run):
    result = cbalign.evaluate(old_run("vqa"), device="cpu", bootstrap=0, protocols=["rank"])
    assert result.metrics
    assert result.predictions()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on": "nothing"}, "nothing"),
        ({"on": "test"}, "test"),
        ({"nothing": 3}, "nothing"),
        ({"protocols": ("nothing",)}, "nothing"),
        ({"data": []}, "data: there are no pairs"),
        ({"on": "validation", "bootstrap": -1}, "bootstrap must be a whole number from 0 to 1000000, not -1"),
        ({"on": "validation", "top_k": "many"}, "top_k must be a whole number"),
    ],
)
def test_evaluate_says_what_is_wrong(run_model, options, message):
    with pytest.raises(CbalignError, match=message):
        cbalign.evaluate(run_model, **options)


def test_data_of_another_run_are_not_taken_for_its_own(run, home, pairs, monkeypatch):
    before = cbalign.evaluate(run, device="cpu").metrics
    cbalign.evaluate(run, data=pairs[:6], on="validation", device="cpu", bootstrap=0)
    cbalign.train(
        SPEC, data=pairs[:8], validation=make_pairs(1)[:5], runs=home / "others", progress=False,
        **{"train.duration": "1 step", "evaluate": []},
    )  # fmt: skip
    assert cbalign.evaluate(run, device="cpu").metrics == before
    given = {key: source for key, source in memory._given.items() if key[1] != run.spec["data.validation.fingerprint"]}
    monkeypatch.setattr(memory, "_given", given)  # as in another process, which was given other data
    with pytest.raises(CbalignError, match="given from Python") as caught:
        cbalign.evaluate(run, device="cpu")
    assert "cbalign.evaluate" in caught.value.remedy


def test_the_command_evaluates_a_checkpoint(old_run):
    path = old_run("pretrain")
    (checkpoint,) = (path / "checkpoints").glob("step-*")
    runner = CliRunner()
    printed = [runner.invoke(main, ["evaluate", str(each), "--bootstrap", "0"]) for each in (path, checkpoint)]
    assert [each.exit_code for each in printed] == [0, 0], printed[1].output
    tables = [each.stdout.replace(str(checkpoint), "X").replace(str(path), "X") for each in printed]
    assert tables[0] == tables[1]


def test_a_bundle_describes_itself(bundle, home):
    assert bundle.path == home / "exports/mine"
    assert bundle.precisions == ("fp32",)
    assert bundle.graphs == ("image", "text", "codebook", "match")
    assert repr(bundle) == f"Bundle {bundle.path} (fp32: image, text, codebook, match), checked against PyTorch"
    assert "Bundle" in bundle._repr_html_()
    data = json.loads(json.dumps(bundle.to_dict()))
    assert data["precisions"]["fp32"]["checks"] > 0


def test_export_does_not_replace_unasked(run, bundle):
    with pytest.raises(UsageError, match="exists") as caught:
        cbalign.export(run, bundle.path)
    assert caught.value.remedy


@pytest.mark.parametrize("options", [{"precisions": ["fp9"]}, {"precisions": "fp9"}])
def test_export_refuses_unknown_precisions(run, tmp_path, options):
    with pytest.raises(CbalignError, match="unknown precision 'fp9'"):
        cbalign.export(run, tmp_path / "bundle", **options)
    assert not (tmp_path / "bundle").exists()


def test_diff_of_specs_runs_bundles_and_models(run, bundle, run_model, bundle_model):
    found = cbalign.diff(cbalign.spec(SPEC), cbalign.spec(SPEC, **{"train.optimizer.lr": 0.5}))
    assert found
    assert found.differences["train.optimizer.lr"][1] == 0.5
    assert "train.optimizer.lr" in repr(found)
    assert found._repr_html_().startswith("<pre>")
    assert json.loads(json.dumps(found.to_dict()))
    assert "lr: 0.5" in found.patch()
    assert all(isinstance(answer, str) for answer in found.verdicts.values())
    for other in (run_model, bundle, bundle_model, str(run.path), run.path):
        assert not cbalign.diff(run, other), repr(cbalign.diff(run, other))
    assert not cbalign.diff("quickstart", "quickstart")
    assert set(cbalign.diff(run, run.checkpoints[-1]).differences) <= {"run.status"}


def test_diff_can_be_narrowed_and_takes_several():
    specs = [cbalign.spec(SPEC, name=name, **{"train.seed": seed}) for name, seed in (("a", 1), ("b", 2), ("c", 3))]
    found = cbalign.diff(*specs)
    assert found.differences["train.seed"] == (1, 2, 3)
    assert list(cbalign.diff(*specs, only=["train"]).differences) == ["train.seed"]
    assert "train.seed" not in cbalign.diff(*specs, ignore=["train.seed"]).differences
    with pytest.raises(UsageError, match="exactly two"):
        found.patch()
    with pytest.raises(UsageError, match="nothing"):
        cbalign.diff(*specs, only=["nothing"])


def test_diff_says_what_it_cannot_compare(tmp_path):
    with pytest.raises(CbalignError, match="nothing"):
        cbalign.diff("quickstart", "nothing")
    with pytest.raises(SpecError, match="is not a spec"):
        cbalign.diff("quickstart", 3)
    assert cbalign.diff({"extends": "quickstart", "train": {"seed": 9}}, "quickstart").differences["train.seed"][0] == 9
