"""Models that classify: exported, proven, and evaluated without PyTorch by the same code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from cbalign.data.source import open_source
from cbalign.errors import BundleError, ParityError
from cbalign.evaluation.result import EvaluationDocument
from cbalign.evaluation.scored import ScoredResult
from cbalign.experiment.load import load_experiment
from cbalign.runtime.bundle import BundleFolder
from cbalign.runtime.golden import check_golden
from cbalign.runtime.session import Session
from cbalign.tasks.classification.parity import ClassifyingChecks, ClassifyingExportable
from cbalign.tasks.classification.runtime import open_classifier
from cbalign.tasks.load import load_model
from tests.cli.tiny import cbalign
from tests.exporting.refusing import graph_of_other_inputs
from tests.tasks.tiny_tasks import write_tasks

PRECISIONS = ("fp32", "fp16", "int8")
TASKS = ("entailment", "nlvr2")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("classifying"))


@pytest.fixture(scope="module", params=TASKS)
def run(place: Path, request: pytest.FixtureRequest) -> Path:
    overrides = ("--set=train.duration=20 steps", "--set=train.optimizer.lr=1e-3")
    trained = cbalign(place, "train", f"{request.param}.yaml", *overrides)
    assert trained.code == 0, trained.stderr
    return place / trained.stdout.strip()


@pytest.fixture(scope="module")
def bundle(place: Path, run: Path) -> Path:
    words = [word for precision in PRECISIONS for word in ("--precision", precision)]
    exported = cbalign(place, "export", str(run), "--output", f"exports/{run.name}", *words)
    assert exported.code == 0, exported.stderr
    return place / "exports" / run.name


def scored(place: Path, target: Path, *options: str) -> ScoredResult:
    found = cbalign(place, "evaluate", str(target), "--output", str(place / "found.json"), *options)
    assert found.code == 0, found.stderr
    (result,) = EvaluationDocument.from_json((place / "found.json").read_text()).results
    assert isinstance(result, ScoredResult)
    return result


def test_a_bundle_has_the_graph_the_labels_and_the_lineage(bundle: Path, run: Path) -> None:
    manifest = BundleFolder.open(bundle).manifest
    assert manifest.graphs == ("classify",)
    assert len(json.loads((bundle / "labels.json").read_text())) == (2 if "statements" in run.name else 3)
    assert manifest.lineage is not None
    assert manifest.lineage[0]["name"] == run.name
    card = (bundle / "README.md").read_text()
    assert "classify.onnx" in card
    assert ("right.png" in card) == ("statements" in run.name)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bundle_is_as_right_as_the_run(place: Path, run: Path, bundle: Path, precision: str) -> None:
    ours, theirs = scored(place, run), scored(place, bundle, "--precision", precision)
    assert theirs.gallery == ours.gallery
    if precision == "fp32":
        assert theirs.predictions == ours.predictions
        assert theirs.metrics == pytest.approx(ours.metrics, abs=0.3)
    else:
        assert sum(a != b for a, b in zip(ours.predictions, theirs.predictions, strict=True)) <= 1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_recorded_computation_is_repeated(bundle: Path, precision: str) -> None:
    assert set(check_golden(Session.open(bundle, "cpu", precision))) == {"logits"}


def test_any_number_of_texts_runs(bundle: Path) -> None:
    classifier = open_classifier(Session.open(bundle, "cpu", batch_size=4))
    images = 2 if len(classifier.labels) == 2 else 1
    texts = ["red", "a green square on the left", *(["blue"] * 7)]
    pixels = np.zeros((9, images, 16, 16, 3), np.uint8)
    logits = classifier.classify(pixels, texts)
    assert logits.shape == (9, len(classifier.labels))
    assert logits[:1] == pytest.approx(classifier.classify(pixels[:1], texts[:1]), abs=1e-5)


def test_a_graph_that_computes_something_else_is_named(run: Path, bundle: Path, tmp_path: Path) -> None:
    experiment = load_experiment(run / "resolved.yaml", check_files=False).experiment
    assert experiment.data.validation is not None
    classifier = load_model(run)
    exportable = ClassifyingExportable.of(classifier, open_source(experiment.data.validation, experiment.task.items))
    session = Session.open(bundle, "cpu")
    whole = ClassifyingChecks(exportable, open_classifier(session), session.tokenizer).run()
    assert whole.passed, whole.failed
    assert {check.kind for check in whole.checks} == {"torch", "independence", "inputs", "task"}
    path = tmp_path / "classify.onnx"
    model = onnx.load(bundle / "fp32" / "classify.onnx")
    for matrix in [tensor for tensor in model.graph.initializer if len(tensor.dims) == 2]:
        matrix.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(matrix) * 1.5, matrix.name))
    path.write_bytes(model.SerializeToString())
    session._graphs["classify"] = replace(session._graphs["classify"], session=onnxruntime.InferenceSession(str(path)))
    report = ClassifyingChecks(exportable, open_classifier(session), session.tokenizer).run()
    assert report.failed
    with pytest.raises(ParityError, match="the classify graph does not compute what PyTorch computes"):
        report.require()


def test_a_graph_that_cannot_be_computed_has_failed_every_comparison_with_it(run: Path, bundle: Path) -> None:
    experiment = load_experiment(run / "resolved.yaml", check_files=False).experiment
    assert experiment.data.validation is not None
    classifier = load_model(run)
    session = Session.open(bundle, "cpu")
    session._graphs["classify"] = replace(session._graphs["classify"], session=graph_of_other_inputs())
    exportable = ClassifyingExportable.of(classifier, open_source(experiment.data.validation, experiment.task.items))
    report = ClassifyingChecks(exportable, open_classifier(session), session.tokenizer).run()
    assert {check.kind for check in report.failed} == {"torch", "independence", "task"}
    assert all("cannot be computed" in check.note for check in report.failed)
    with pytest.raises(ParityError, match="cannot be computed"):
        report.require()


def test_a_bundle_without_labels_classifies_nothing(bundle: Path) -> None:
    session = Session.open(bundle, "cpu")
    manifest = session.bundle.manifest
    object.__setattr__(manifest, "files", {n: f for n, f in manifest.files.items() if n != "labels.json"})
    with pytest.raises(BundleError, match=r"is not a classifier: it has no labels\.json"):
        open_classifier(session)


@pytest.mark.parametrize("words", [("search", "{}", ".", "red"), ("benchmark", "{}"), ("serve", "{}", "--port", "0")])
def test_what_embeds_is_refused(place: Path, bundle: Path, words: tuple[str, ...]) -> None:
    result = cbalign(place, *(word.format(bundle) for word in words))
    assert result.code == 2, result.stderr
    assert "does not embed images and texts: it has the graphs classify" in result.stderr


def test_triton_refuses_a_classifier_before_anything_is_exported(place: Path, run: Path) -> None:
    result = cbalign(place, "export", str(run), "--triton", "models", "--output", "none")
    assert result.code == 2, result.stderr
    assert "the export target triton needs the graphs image and text" in result.stderr
    assert not (place / "none").exists()


def test_retrieval_of_a_classifier_is_refused(place: Path, bundle: Path) -> None:
    result = cbalign(place, "report", str(bundle), "--on", "validation", "--output", "x.png")
    assert result.code == 2
    assert "not pairs" in result.stderr
