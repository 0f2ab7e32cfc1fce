"""`cbalign diff` of runs, checkpoints and bundles: what they record beyond their specs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

import cbalign.lab.comparison.bundles
from cbalign.cli import main
from cbalign.engine.manifest import Attempt, Manifest
from cbalign.engine.run import create_run
from cbalign.evaluation.metrics import DirectionResult
from cbalign.evaluation.result import EvaluationDocument, RetrievalResult, file_name
from cbalign.experiment.dump import dump_yaml, experiment_fingerprint
from cbalign.experiment.load import load_experiment
from cbalign.runtime.bundle import BundleManifest, list_files

SPEC = """\
cbalign: 1
name: small
model:
  vision: {architecture: vit_tiny_patch16_224, image_size: 32, layers: 1, width: 16, heads: 2, init: random}
  text: {architecture: some/bert, tokenizer: captions, init: random}
data: {train: {source: openmoji, split: train}, validation: {source: openmoji, split: validation}}
train: {duration: 2 epochs, batch_size: 8}
evaluate: [{on: validation}]
"""
ATTEMPT = Attempt(
    started="2026-01-01T00:00:00+00:00",
    from_step=0,
    argv=(),
    host="here",
    device="cpu: a processor, 2 threads",
    processes=2,
    versions={"torch": "2.9.0", "numpy": "2.3.0"},
    revision="abc123",
)
FACTS = {
    "vocabulary": 100,
    "parameters": {"trainable": 12345, "teacher": 12000},
    "data": {"train": "openmoji train: 3,171 drawings", "validation": "openmoji validation: 391 drawings"},
    "fingerprints": {"train": "aaaa", "validation": "bbbb"},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("spec.yaml").write_text(SPEC)
    return tmp_path


def diff(*arguments):
    return CliRunner().invoke(main, ["diff", *map(str, arguments)])


def told(*arguments):
    result = diff(*arguments, "--json")
    assert result.exit_code in (0, 1), result.stderr
    return json.loads(result.stdout)


def paths(document):
    return {each["path"]: each["effect"] for each in document["differences"]}


def make_run(*, facts=FACTS, attempts=(ATTEMPT,), step=4, weights=None, metrics=None):
    experiment = load_experiment("spec.yaml").experiment
    run = create_run(
        Path("runs"),
        experiment.name,
        spec=SPEC,
        resolved=dump_yaml(experiment),
        fingerprint=experiment_fingerprint(experiment),
        facts=facts,
    )  # fmt: skip
    manifest = Manifest.read(run.manifest)
    replace(manifest, status="finished", attempts=attempts, metrics=metrics or {}).write(run.manifest)
    make_checkpoint(run, step, weights or {"student.x": np.ones(3, np.float32)})
    return run.folder.relative_to(Path.cwd()) if run.folder.is_absolute() else run.folder


def make_checkpoint(run, step, weights):
    checkpoint = run.checkpoints / f"step-{step}"
    checkpoint.mkdir()
    save_file(weights, checkpoint / "model.safetensors")
    counters = {"step": step, "total_steps": 10, "steps_per_epoch": 5, "global_batch_size": 16, "samples_seen": 64}
    (checkpoint / "state.json").write_text(json.dumps({**counters, "window": {}}))


def keep_ranks(run, ranks, *, gallery="g", step=4):
    direction = DirectionResult.of(np.array(ranks), 0)
    result = RetrievalResult(
        protocol="dual", split="validation", source="openmoji", gallery=gallery, images=len(ranks), texts=len(ranks),
        skipped_images=0, image_size=32, top_k=None, image_to_text=direction, text_to_image=direction, codebook=None,
    )  # fmt: skip
    document = EvaluationDocument(str(run), step, "torch", (result,), {}, "").to_json()
    (run / "evaluation" / file_name(result, step)).write_text(document)


def test_two_runs_of_one_spec_in_one_place_do_not_differ():
    a, b = make_run(), make_run()
    result = diff(a, b)
    assert (result.exit_code, result.stdout) == (0, f"{a} = {b}: no differences\n")


def test_runs_differ_by_code_environment_and_data_each_in_its_class():
    other = replace(ATTEMPT, versions={"torch": "2.10.0", "numpy": "2.3.0"}, revision=None, device="cuda: a card")
    facts = {**FACTS, "fingerprints": {"train": "cccc", "validation": "dddd"}}
    document = told(make_run(), make_run(attempts=(other,), facts=facts))
    assert paths(document) == {
        "run.data[train]": "data",
        "run.code": "training",
        "run.data[validation]": "evaluation",
        "run.device": "runtime",
        "run.versions.torch": "runtime",
    }
    found = {each["path"]: each for each in document["differences"]}
    assert found["run.code"]["values"] == ["abc123", "not recorded"]
    assert all(origin.endswith("manifest.json") for origin in found["run.code"]["origins"])
    answers = {verdict["question"]: verdict for verdict in document["verdicts"]}
    assert answers["numbers of A and B compare"]["answer"] == "no"
    assert "run.data[validation]" in answers["numbers of A and B compare"]["reason"]


def test_a_run_that_went_on_elsewhere_tells_both_machines():
    moved = replace(ATTEMPT, device="cuda: a card")
    document = told(make_run(), make_run(attempts=(ATTEMPT, moved)))
    assert document["differences"][0]["values"][1] == "cpu: a processor, 2 threads, then cuda: a card"


def test_a_run_knows_what_its_spec_does_not_tell():
    Path("other.yaml").write_text("extends: spec.yaml\ntrain: {duration: 6 steps, schedule: {warmup: 0 steps}}\n")
    derived = {each["name"]: each["values"] for each in told(make_run(), "other.yaml")["derived"]}
    assert derived["optimiser steps"] == [10, 6]
    assert derived["pairs per optimiser step"] == [16, 8]


def test_only_and_ignore_reach_what_runs_record():
    a, b = make_run(), make_run(attempts=(replace(ATTEMPT, device="cuda", revision="def"),))
    assert diff(a, b, "--ignore", "run").exit_code == 0
    assert diff(a, b, "--ignore", "run.code", "--fail-on", "training").exit_code == 0
    assert paths(told(a, b, "--only", "run.device")) == {"run.device": "runtime"}


def test_metrics_of_the_same_queries_have_paired_intervals():
    a, b = make_run(), make_run()
    keep_ranks(a, [1, 2, 3, 4] * 50)
    keep_ranks(b, [1, 1, 3, 4] * 50)
    rows = {row["name"]: row for row in told(a, b)["metrics"]}
    row = rows["validation dual, image → text R@1"]
    assert row["values"] == [25, 50]
    (change,) = row["changes"]
    low, high = change["interval_95"]
    assert (change["delta"], change["judgement"]) == (25, "better")
    assert 15 < low < 25 < high < 35
    assert rows["validation dual, image → text R@5"]["changes"][0]["judgement"] == "the same"
    text = diff(a, b).stdout
    assert "25.0 → 50.0  +25.0, 95 % [" in text
    assert "]: better" in text
    assert "mean rank" not in text
    assert "mean rank" in diff(a, b, "--all").stdout


def test_a_small_change_is_not_called_clear():
    a, b = make_run(), make_run()
    keep_ranks(a, [1, 2] * 50)
    keep_ranks(b, [1, 2] * 49 + [1, 1])
    assert "+1.0, 95 % [0.0, 3.0]: not a clear change" in diff(a, b).stdout


def test_other_queries_are_not_paired_and_the_reader_is_told():
    a, b = make_run(), make_run()
    keep_ranks(a, [1, 2, 3, 4])
    keep_ranks(b, [1, 1, 3, 4], gallery="another")
    document = told(a, b)
    assert document["metrics"][0]["changes"] == [{"delta": 25, "interval_95": None, "judgement": None}]
    assert "different images or texts were evaluated" in document["remarks"][0]


def test_without_kept_ranks_the_trainings_numbers_stand_with_an_honest_sentence():
    name = "validation/dual/image_to_text/r1"
    a, b = make_run(metrics={name: 10.0}), make_run(metrics={name: 12.5})
    text = diff(a, b).stdout
    assert f"{name}  10.0 → 12.5  +2.5" in text
    assert "No intervals" in text
    assert "cbalign evaluate" in text


def test_three_runs_are_told_from_the_first():
    runs = [make_run() for _ in range(3)]
    for run, ranks in zip(runs, ([1, 2], [1, 1], [2, 2])):
        keep_ranks(run, ranks * 40)
    (row, *_) = told(*runs)["metrics"]
    assert row["values"] == [50, 100, 0]
    assert [change["judgement"] for change in row["changes"]] == ["better", "worse"]
    assert "95 %" in diff(*runs).stdout


def test_an_evaluation_of_another_form_is_named_and_passed_over():
    a, b = make_run(), make_run()
    (a / "evaluation/old.json").write_text("{}")
    assert f"{a}: old.json is not an evaluation" in " ".join(told(a, b)["remarks"])


def test_checkpoints_of_a_run_differ_in_step_and_weights():
    run = make_run(step=2, weights={"student.x": np.ones(4, np.float32), "student.y": np.ones(2, np.float32)})
    moved = {"student.x": np.ones(4, np.float32) * 1.1, "student.y": np.ones(2, np.float32)}
    make_checkpoint(_Run(run), 4, moved)
    a, b = run / "checkpoints/step-2", run / "checkpoints/step-4"
    document = told(a, b)
    assert [operand["kind"] for operand in document["operands"]] == ["checkpoint"] * 2
    assert set(paths(document)) == {"run.step", "run.weights"}
    (weights,) = document["weights"]
    assert [each["name"] for each in weights["tensors"]["changed"]] == ["student.x"]
    assert "student.x  10 %" in diff(a, b).stdout
    assert diff(a, run / "checkpoints/step-2").exit_code == 0


class _Run:
    def __init__(self, folder):
        self.checkpoints = folder / "checkpoints"


def test_the_tensors_of_checkpoints_decide_what_loads():
    a = make_run(weights={"student.x": np.ones(4, np.float32), "match_head.bias": np.ones(2, np.float32)})
    b = make_run(weights={"student.x": np.ones(5, np.float32), "match_head.bias": np.ones(2, np.float32)})
    verdict = told(a, b)["verdicts"][0]
    assert (verdict["answer"], verdict["details"]) == ("partly", ["reshaped: student.x 4 → 5"])


def test_the_latest_run_is_named_by_its_pointer():
    make_run()
    assert diff("runs/latest", make_run()).exit_code == 0


def test_a_run_and_its_spec_are_the_same_experiment():
    assert diff("spec.yaml", make_run()).exit_code == 0


@pytest.mark.parametrize(
    ("file", "content"),
    [("manifest.json", "{"), ("checkpoints/step-4/state.json", "[]"), ("checkpoints/step-4/model.safetensors", "x")],
)
def test_a_damaged_run_is_trouble(file, content):
    run = make_run()
    (run / file).write_text(content)
    result = diff(run, "spec.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert Path(file).name in result.stderr


def make_bundle(name, *, scale=1.0, opset=20, note="", relu=False):
    bundle = Path(name)
    (bundle / "fp32").mkdir(parents=True)
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["h"])]
    nodes.append(helper.make_node("Relu" if relu else "Identity", ["h"], ["y"]))
    ports = [helper.make_tensor_value_info(port, TensorProto.FLOAT, ["B", 2]) for port in ("x", "y")]
    tensors = [numpy_helper.from_array(np.ones((2, 2), np.float32) * scale, "weight")]
    graph = helper.make_graph(nodes, "image", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], doc_string=note)
    onnx.save(model, bundle / "fp32/image.onnx")
    (bundle / "spec.yaml").write_text(dump_yaml(load_experiment("spec.yaml").experiment))
    for file in ("preprocessing.json", "tokenizer.json", "text.json"):
        (bundle / file).write_text("{}")
    manifest = BundleManifest(
        name, "", "run", 4, "", ("image",), ("fp32",), opset, "", {"onnx": "1.20"}, list_files(bundle)
    )
    (bundle / "manifest.json").write_text(manifest.to_json())
    return bundle


def test_equal_bundles_do_not_differ():
    assert diff(make_bundle("a"), make_bundle("b")).exit_code == 0


def test_bundles_differ_in_weights_tensor_by_tensor():
    document = told(make_bundle("a"), make_bundle("b", scale=1.25))
    assert paths(document) == {"bundle.fp32/image.onnx": "training"}
    (graph,) = document["weights"]
    assert graph["tensors"]["changed"] == [{"name": "weight", "relative_change": 0.25}]
    assert document["verdicts"][3]["answer"] == "no"
    assert "weight  25 %" in diff("a", "b").stdout


def test_bundles_differ_in_operators_and_their_set():
    document = told(make_bundle("a"), make_bundle("b", opset=18, relu=True))
    assert paths(document) == {"bundle.opset": "export", "bundle.fp32/image.onnx": "export"}
    (graph,) = document["weights"]
    assert (graph["opsets"], graph["operators"]) == ([20, 18], {"Identity": [1, 0], "Relu": [0, 1]})


def test_a_note_in_the_file_is_no_other_model():
    document = told(make_bundle("a"), make_bundle("b", note="made elsewhere"))
    assert paths(document) == {"bundle.fp32/image.onnx": "export"}
    assert "only metadata of the file differ" in diff("a", "b").stdout


def test_without_onnx_the_reader_is_told_what_to_install(monkeypatch):
    def refuse(path):
        raise ModuleNotFoundError(name="onnx")

    monkeypatch.setattr(cbalign.lab.comparison.bundles._Graph, "open", refuse)
    result = diff(make_bundle("a"), make_bundle("b", scale=2))
    assert result.exit_code == 1
    assert "pip install onnx" in result.stdout


def test_a_damaged_graph_is_trouble():
    bundles = make_bundle("a"), make_bundle("b", scale=2)
    (bundles[1] / "fp32/image.onnx").write_bytes(b"\xff" * 20)
    result = diff(*bundles)
    assert result.exit_code == 2
    assert "not an ONNX graph" in result.stderr


def test_run_and_bundle_compare_as_experiments():
    assert diff(make_run(), make_bundle("b")).exit_code == 0
