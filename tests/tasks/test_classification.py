"""NLVR2 and SNLI-VE from the command line: pretrain, fine-tune from it, resume, evaluate, compare."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cbalign.engine.manifest import Manifest
from cbalign.engine.run import RunFolder
from tests.cli.tiny import Result, cbalign
from tests.tasks.tiny_tasks import write_tasks


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def pretrained(place: Path) -> RunFolder:
    return trained(place, "pretrain.yaml")[0]


@pytest.fixture(scope="module")
def assigned(place: Path, pretrained: RunFolder) -> RunFolder:
    return trained(place, "assignment.yaml", f"init.run={pretrained.folder}")[0]


@pytest.fixture(scope="module")
def entails(place: Path, pretrained: RunFolder) -> tuple[RunFolder, Result]:
    return trained(place, "entailment.yaml", f"init.run={pretrained.folder}")


@pytest.fixture(scope="module")
def statements(place: Path, assigned: RunFolder) -> tuple[RunFolder, Result]:
    return trained(place, "nlvr2.yaml", f"init.run={assigned.folder}")


def trained(place: Path, spec: str, *overrides: str) -> tuple[RunFolder, Result]:
    result = cbalign(place, "train", spec, *(f"--set={override}" for override in overrides))
    assert result.code == 0, result.stderr
    return RunFolder(place / result.stdout.strip()), result


def weights(run: RunFolder, step: int) -> dict[str, object]:
    return dict(load_file(run.checkpoints / f"step-{step}" / "model.safetensors"))


def test_a_start_from_pretraining_is_told_and_kept(pretrained: RunFolder, entails: tuple[RunFolder, Result]):
    run, result = entails
    assert f"starting from {pretrained.folder.name}, step 4: " in result.stderr
    assert "missing: head" in result.stderr
    assert "unexpected: " in result.stderr
    assert "masked_language" in result.stderr
    (ancestor,) = Manifest.read(run.manifest).facts["lineage"]
    assert ancestor["name"] == pretrained.folder.name
    assert ancestor["trained_on"] == ["pairs"]
    vocabulary = (pretrained.assets / "tokenizer.json").read_text()
    assert (run.assets / "tokenizer.json").read_text() == vocabulary


def test_lineage_reaches_through_the_stages(
    statements: tuple[RunFolder, Result], assigned: RunFolder, pretrained: RunFolder
):
    facts = Manifest.read(statements[0].manifest).facts
    assert [each["name"] for each in facts["lineage"]] == [assigned.folder.name, pretrained.folder.name]
    assert facts["trained_on"] == ["nlvr2"]


def test_text_assignment_doubles_the_pretrained_layers(place: Path, pretrained: RunFolder):
    run, result = trained(
        place,
        "assignment.yaml",
        f"init.run={pretrained.folder}",
        "train.duration=1 steps",
        "train.optimizer.lr=1e-12",
        "train.schedule.warmup_lr=0",
        "train.schedule.final_lr=0",
    )
    assert "next: train a spec of the same task with init: {run: " in result.stderr
    mine, theirs = weights(run, 1), weights(pretrained, 4)
    layer = "fusion.layers.0.attention.query.weight"
    for copy in ("first", "second"):
        assert mine[f"student.fusion.{copy}.0.attention.query.weight"].allclose(theirs[f"student.{layer}"], atol=1e-6)
    key = "cross_attention.key.weight"
    assert f"student.fusion.second.0.{key}" not in mine
    assert mine[f"student.fusion.first.0.{key}"].allclose(theirs[f"student.fusion.layers.0.{key}"], atol=1e-6)


@pytest.mark.parametrize("task", ["entails", "statements"])
def test_a_killed_run_goes_on_to_the_same_weights(task: str, place: Path, request: pytest.FixtureRequest):
    finished = request.getfixturevalue(task)[0]
    run = RunFolder(place / "killed" / task)
    shutil.copytree(finished.folder, run.folder)
    shutil.rmtree(run.checkpoints / "step-4")
    manifest = json.loads(run.manifest.read_text())
    run.manifest.write_text(json.dumps({**manifest, "status": "running"}))
    result = cbalign(place, "train", str(run.folder), "--set", "data.workers=1")
    assert result.code == 0, result.stderr
    expected = finished.checkpoints / "step-4" / "model.safetensors"
    assert (run.checkpoints / "step-4" / "model.safetensors").read_bytes() == expected.read_bytes()


def test_entailment_is_evaluated_with_its_confusions(entails: tuple[RunFolder, Result], place: Path):
    run, _ = entails
    result = cbalign(place, "evaluate", str(run.folder), "--json")
    assert result.code == 0, result.stderr
    (found,) = json.loads(result.stdout)["results"]
    targets = [entry["label"] for entry in json.loads((place / "ve.json").read_text())]
    right = [said == target for said, target in zip(found["predictions"], targets, strict=True)]
    assert found["scores"] == right
    assert found["metrics"] == {"accuracy": pytest.approx(100 * sum(right) / 24)}
    counts = dict(zip(found["confusion"]["labels"], found["confusion"]["counts"]))
    for label, row in counts.items():
        said = [s for s, target in zip(found["predictions"], targets) if target == label]
        assert row == [said.count(other) for other in counts]
    logged = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert logged[-1]["validation/accuracy"] == pytest.approx(found["metrics"]["accuracy"])


def test_statements_are_consistent_where_all_of_a_sentence_are_right(
    statements: tuple[RunFolder, Result], place: Path, tmp_path: Path
):
    file = tmp_path / "predictions.csv"
    result = cbalign(place, "evaluate", str(statements[0].folder), "--json", f"--predictions={file}")
    assert result.code == 0, result.stderr
    (found,) = json.loads(result.stdout)["results"]
    assert "consistency" not in found["metrics"], "each sentence has one pair of images here"
    said = dict(csv.reader(file.read_text().splitlines()))
    entries = [json.loads(line) for line in (place / "nlvr2.jsonl").read_text().splitlines()]
    right = [said[entry["identifier"]] == entry["label"] for entry in entries]
    assert found["metrics"]["accuracy"] == pytest.approx(100 * sum(right) / len(entries))


def test_consistency_of_lists_without_identifiers_is_said_to_be_approximate(
    statements: tuple[RunFolder, Result], place: Path
):
    """ALBEF's lists: two sets of four pairs about one sentence; only the published form tells the sets apart."""
    pairs = [f"dev-{100 + i // 4}-{i % 4}" for i in range(8)]
    for i, pair in enumerate(pairs):
        for side in (0, 1):
            shutil.copy(place / f"dev-{i}-0-img{side}.png", place / f"{pair}-img{side}.png")
    said = {"sentence": "one square is red", "label": "True"}
    published = [{**said, "identifier": f"{pair}-0"} for pair in pairs]
    listed = [{**said, "images": [f"{pair}-img0.png", f"{pair}-img1.png"]} for pair in pairs]
    found = []
    for name, entries in (("albef", listed), ("official", published)):
        (place / f"{name}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        result = cbalign(place, "evaluate", str(statements[0].folder), "--on", f"{name}.jsonl", "--json")
        assert result.code == 0, result.stderr
        found += json.loads(result.stdout)["results"]
    albef, official = found
    right = [score == 1 for score in official["scores"]]
    assert official["notes"] == []
    assert official["metrics"]["consistency"] == 50 * (all(right[:4]) + all(right[4:]))
    (note,) = albef["notes"]
    assert note.startswith("consistency is approximate")
    assert albef["metrics"]["consistency"] == 100 * all(albef["scores"])
    shown = cbalign(place, "evaluate", str(statements[0].folder), "--on", "albef.jsonl").stdout
    assert "consistency is approximate" in shown


def test_two_runs_are_compared_item_by_item(entails: tuple[RunFolder, Result], place: Path):
    other, _ = trained(place, "entailment.yaml", "train.seed=1")
    for run in (entails[0], other):
        assert cbalign(place, "evaluate", str(run.folder)).code == 0
    result = cbalign(place, "diff", str(entails[0].folder), str(other.folder), "--json")
    assert result.code == 1, result.stderr
    assert "validation accuracy, accuracy" in result.stdout
    assert '"interval_95"' in result.stdout


def test_a_start_that_does_not_fit_is_refused(pretrained: RunFolder, place: Path):
    before = len(list((place / "runs").iterdir()))
    result = cbalign(
        place,
        "train",
        "entailment.yaml",
        f"--set=init.run={pretrained.folder}",
        "--set=model.text.layers=2",
        "--set=model.vision.width=8",
    )
    assert result.code == 3, result.stderr
    assert "does not fit the spec" in result.stderr
    assert "missing      student.text.layers.1" in result.stderr or "other shape  student.vision" in result.stderr
    assert len(list((place / "runs").iterdir())) == before


def test_retrieval_of_a_classifier_is_refused(entails: tuple[RunFolder, Result], place: Path):
    result = cbalign(place, "evaluate", str(entails[0].folder), "--protocol", "dual")
    assert result.code == 2
    assert "--protocol: an evaluation of kind accuracy has no such setting" in result.stderr
