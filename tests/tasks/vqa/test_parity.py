"""A model that answers questions: exported, proven, and evaluated without PyTorch by the same code."""

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
from cbalign.tasks.load import load_model
from cbalign.tasks.vqa.parity import AnsweringChecks, AnsweringExportable
from cbalign.tasks.vqa.runtime import open_answerer
from tests.cli.tiny import cbalign
from tests.exporting.refusing import graph_of_other_inputs
from tests.tasks.vqa.test_training import values, write_lists

PRECISIONS = ("fp32", "fp16", "int8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answering")
    write_lists(folder)
    spec = values(train=values()["train"] | {"duration": "40 steps", "checkpoint_every": "40 steps"})
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    trained = cbalign(place, "train", "spec.json")
    assert trained.code == 0, trained.stderr
    return place / trained.stdout.strip()


@pytest.fixture(scope="module")
def bundle(place: Path, run: Path) -> Path:
    words = [word for precision in PRECISIONS for word in ("--precision", precision)]
    exported = cbalign(place, "export", str(run), "--output", "exports/tiny", *words)
    assert exported.code == 0, exported.stderr
    return place / "exports" / "tiny"


def test_a_bundle_has_the_graphs_and_the_answers(bundle: Path) -> None:
    manifest = BundleFolder.open(bundle).manifest
    assert manifest.graphs == ("vision", "question", "answer")
    assert json.loads((bundle / "answers.json").read_text()) == ["blue", "dark green", "red", "white"]
    assert "answers.json" in manifest.files
    card = (bundle / "README.md").read_text()
    assert "answer.onnx" in card
    assert "open_answerer" in card


def test_a_bundle_answers_as_the_run_does(place: Path, run: Path, bundle: Path) -> None:
    results: list[ScoredResult] = []
    for target in (run, bundle):
        found = cbalign(place, "evaluate", str(target), "--output", str(place / "found.json"))
        assert found.code == 0, found.stderr
        each = EvaluationDocument.from_json((place / "found.json").read_text()).results
        results.extend(result for result in each if isinstance(result, ScoredResult))
    ours, theirs = results[:2], results[2:]
    for one, other in zip(ours, theirs, strict=True):
        assert one.protocol_name == other.protocol_name
        assert one.predictions == other.predictions
        assert one.metrics == pytest.approx(other.metrics, abs=0.3)
    assert [result.protocol for result in theirs] == ["rank", "generate"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_recorded_computation_is_repeated(bundle: Path, precision: str) -> None:
    assert set(check_golden(Session.open(bundle, "cpu", precision))) == {"question_tokens", "token", "following"}


def test_answers_of_a_secret_set_are_written_for_evalai(place: Path, bundle: Path) -> None:
    arguments = ("--on", "test", "--protocol", "rank", "--predictions", str(place / "evalai.json"))
    found = cbalign(place, "evaluate", str(bundle), *arguments)
    assert found.code == 0, found.stderr
    assert "rank top 4 of 5 items, 16 px; answers are not public, no metrics" in found.stdout
    answers = json.loads((place / "evalai.json").read_text())
    assert [list(answer) for answer in answers] == [["question_id", "answer"]] * 5
    assert [answer["question_id"] for answer in answers] == [100, 101, 102, 103, 104]
    assert {answer["answer"] for answer in answers} <= {"blue", "dark green", "red", "white"}


def test_any_number_of_questions_and_answers_runs(bundle: Path) -> None:
    answerer = open_answerer(Session.open(bundle, "cpu"))
    pixels = np.zeros((3, 16, 16, 3), np.uint8)
    for questions in (["What?"], ["What colour is it?", "Which?"], ["Which colour?"] * 5):
        index = np.arange(len(questions)) % len(pixels)
        assert answerer.rank(pixels, questions, index, 128).probability.shape == (len(questions), 4)
        assert len(answerer.generate(pixels, questions, index, 3)) == len(questions)


@pytest.mark.parametrize("graph", ["vision", "question", "answer"])
def test_a_graph_that_computes_something_else_is_named(run: Path, bundle: Path, tmp_path: Path, graph: str) -> None:
    data = load_experiment(run / "resolved.yaml", check_files=False).experiment.data.validation
    assert data is not None
    exportable = AnsweringExportable.of(load_model(run), open_source(data, "questions"))
    session = Session.open(bundle, "cpu")
    path = tmp_path / f"{graph}.onnx"
    model = onnx.load(bundle / "fp32" / f"{graph}.onnx")
    matrices = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 2]
    matrices[-1].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(matrices[-1]) * 1.05, matrices[-1].name))
    path.write_bytes(model.SerializeToString())
    session._graphs[graph] = replace(session._graphs[graph], session=onnxruntime.InferenceSession(str(path)))
    report = AnsweringChecks(exportable, open_answerer(session)).run()
    assert not report.passed
    assert report.failed[0].graph == graph
    with pytest.raises(ParityError, match=f"the {graph} graph does not compute what PyTorch computes"):
        report.require()


@pytest.mark.parametrize("graph", ["question", "answer"])
def test_a_graph_that_cannot_be_computed_has_failed_every_comparison_with_it(
    run: Path, bundle: Path, graph: str
) -> None:
    data = load_experiment(run / "resolved.yaml", check_files=False).experiment.data.validation
    assert data is not None
    session = Session.open(bundle, "cpu")
    session._graphs[graph] = replace(session._graphs[graph], session=graph_of_other_inputs())
    exportable = AnsweringExportable.of(load_model(run), open_source(data, "questions"))
    report = AnsweringChecks(exportable, open_answerer(session)).run()
    assert {check.kind for check in report.failed} == {"torch", "independence", "task"}
    assert {check.graph for check in report.failed} == {graph, "whole"}


def test_a_model_is_at_par_with_itself(run: Path) -> None:
    data = load_experiment(run / "resolved.yaml", check_files=False).experiment.data.validation
    assert data is not None
    exportable = AnsweringExportable.of(load_model(run), open_source(data, "questions"))
    report = AnsweringChecks(exportable, exportable.answerer).run()
    assert report.passed, report.failed
    assert {check.kind for check in report.checks} == {"torch", "independence", "inputs", "task"}


def test_a_bundle_without_a_list_of_answers_answers_no_questions(bundle: Path) -> None:
    session = Session.open(bundle, "cpu")
    manifest = session.bundle.manifest
    lacking = {name: file for name, file in manifest.files.items() if name != "answers.json"}
    object.__setattr__(manifest, "files", lacking)
    with pytest.raises(BundleError, match=r"does not answer questions: it has no answers\.json"):
        open_answerer(session)
