"""`cbalign evaluate` does not repeat what a run has, and does not lose what it had."""

import json
import shutil

import pytest

import cbalign as api
from cbalign.evaluation.retrieval import RetrievalEvaluator
from tests.cli.tiny import cbalign, write_experiment


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = write_experiment(tmp_path_factory.mktemp("evaluate"))
    result = cbalign(place, "train", "spec.yaml", "--set", "train.duration=2 steps")
    assert result.code == 0, result.stderr
    return place, result.stdout.strip()


@pytest.fixture
def place(trained):
    """The folder with the run `run` without results."""
    folder, run = trained
    shutil.rmtree(folder / run / "evaluation")
    return folder


@pytest.fixture
def run(trained):
    return trained[1]


@pytest.fixture
def measured(monkeypatch):
    """The protocols of every evaluation that was computed."""
    calls, evaluate = [], RetrievalEvaluator.evaluate

    def counted(self, *arguments, **options):
        results = evaluate(self, *arguments, **options)
        calls.append([result.protocol for result in results])
        return results

    monkeypatch.setattr(RetrievalEvaluator, "evaluate", counted)
    return calls


def evaluate(place, run, *words):
    result = cbalign(place, "evaluate", run, *words)
    assert result.code == 0, result.stderr
    return result


def stored(place, run):
    return sorted(
        path.relative_to(place / run / "evaluation").as_posix() for path in (place / run).rglob("*-step2*.json")
    )


def test_a_stored_result_is_printed_and_said_to_be_stored(place, run, measured):
    first = evaluate(place, run)
    again = evaluate(place, run)
    assert measured == [["dual"]]
    assert again.stdout == first.stdout
    assert "--again" not in first.stderr
    assert "validation dual: evaluated before, 20" in again.stderr
    assert "--again evaluates again" in again.stderr
    documents = [json.loads(evaluate(place, run, "--json").stdout) for _ in range(2)]
    assert documents[0] == documents[1]


def test_again_measures_again(place, run, measured):
    evaluate(place, run)
    assert "evaluated before" not in evaluate(place, run, "--again").stderr
    assert measured == [["dual"], ["dual"]]
    assert stored(place, run) == ["validation-dual-step2.json"]


@pytest.mark.parametrize(
    "words", [("--bootstrap", "0"), ("--on", "train"), ("--on", "pairs.csv"), ("--protocol", "code")], ids=" ".join
)
def test_other_settings_are_measured_and_the_first_result_stays(place, run, measured, words):
    first = json.loads(evaluate(place, run, "--json").stdout)["results"]
    other = json.loads(evaluate(place, run, "--json", *words).stdout)["results"]
    assert len(measured) == 2
    assert json.loads(evaluate(place, run, "--json", *words).stdout)["results"] == other
    assert len(measured) == 2
    kept = [json.loads((place / run / "evaluation" / name).read_text())["results"] for name in stored(place, run)]
    assert first in kept
    assert other in kept


def test_settings_that_do_not_count_are_no_others(place, run, measured):
    evaluate(place, run)
    evaluate(place, run, "--batch-size", "3", "--top-k", "2")  # `dual` has no candidates
    assert len(measured) == 1


def test_protocols_are_put_together_from_what_there_is(place, run, measured):
    evaluate(place, run, "--protocol", "code", "--protocol", "dual")
    evaluate(place, run, "--protocol", "dual")
    both = json.loads(evaluate(place, run, "--protocol", "dual", "--protocol", "code", "--json").stdout)
    assert [result["protocol"] for result in both["results"]] == ["dual", "code"]
    assert len(measured) == 1
    evaluate(place, run, "--protocol", "dual", "--protocol", "rerank")
    assert measured[1] == ["dual", "rerank"]


def test_changed_data_are_measured(place, run, measured):
    evaluate(place, run)
    file = place / "pairs.csv"
    text = file.read_text()
    try:
        file.write_text(text.replace("square number 3", "round number 3"))
        evaluate(place, run)
    finally:
        file.write_text(text)
    assert len(measured) == 2
    first, second = stored(place, run)
    assert first.startswith("earlier/validation-dual-step2-")
    assert second == "validation-dual-step2.json"


def test_results_of_earlier_versions_are_moved_not_lost(place, run, measured):
    evaluate(place, run)
    file = place / run / "evaluation" / "validation-dual-step2.json"
    old = {name: value for name, value in json.loads(file.read_text()).items() if name != "inputs"}
    file.write_text(json.dumps(old))
    assert "evaluated before" not in evaluate(place, run).stderr
    assert len(measured) == 2
    (moved,) = (place / run / "evaluation" / "earlier").iterdir()
    assert json.loads(moved.read_text()) == old


def test_a_damaged_file_is_no_result_and_stays(place, run, measured):
    evaluate(place, run)
    file = place / run / "evaluation" / "validation-dual-step2.json"
    file.write_text("{")
    evaluate(place, run)
    assert len(measured) == 2
    assert [path.read_text() for path in (place / run / "evaluation" / "earlier").iterdir()] == ["{"]


def test_python_measures_unless_it_is_to_keep_results(place, run, measured):
    path = place / run
    for _ in range(2):
        api.evaluate(path, device="cpu")
    assert len(measured) == 2
    kept = [api.evaluate(path, device="cpu", keep=True) for _ in range(2)]
    assert len(measured) == 3
    assert kept[0].metrics == kept[1].metrics
    assert api.evaluate(path, device="cpu", keep=True, again=True).metrics == kept[0].metrics
    assert len(measured) == 4
