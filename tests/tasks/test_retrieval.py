"""Fine-tuning for retrieval: image ids shared between captions, lineage, zero-shot, published figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cbalign.engine.manifest import Manifest
from cbalign.engine.run import RunFolder
from tests.cli.tiny import Result, cbalign
from tests.tasks.tiny_tasks import MODEL, TRAIN, write_tasks

RETRIEVAL = f"""\
cbalign: 1
name: retrieves
task: {{kind: retrieval}}
{MODEL}\
objectives: {{codebook: {{weight: 0}}, masked_language: {{weight: 0}}, contrastive: {{intra_modal: false}}}}
data:
  train: {{source: json, files: [coco_train.json]}}
  validation: {{source: json, files: [coco_val.json]}}
  test: {{source: csv, files: [flickr30k_test.csv]}}
{TRAIN}\
evaluate: [{{kind: retrieval, on: validation, protocols: [dual]}}]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tasks(tmp_path_factory.mktemp("retrieval"))
    entries = [
        {"image": f"{i}.jpg", "caption": f"{word} square {i}", "image_id": i} for i in range(8) for word in ("a", "the")
    ]
    (folder / "coco_train.json").write_text(json.dumps(entries))
    (folder / "coco_val.json").write_text(json.dumps(entries[:8]))
    (folder / "flickr30k_test.csv").write_text("image,caption\n" + "".join(f"{i}.jpg,a square\n" for i in range(4)))
    (folder / "retrieval.yaml").write_text(RETRIEVAL)
    return folder


def trained(place: Path, spec: str, *overrides: str) -> tuple[RunFolder, Result]:
    result = cbalign(place, "train", spec, *(f"--set={override}" for override in overrides))
    assert result.code == 0, result.stderr
    return RunFolder(place / result.stdout.strip()), result


@pytest.fixture(scope="module")
def pretrained(place: Path) -> RunFolder:
    return trained(place, "pretrain.yaml")[0]


@pytest.fixture(scope="module")
def tuned(place: Path, pretrained: RunFolder) -> tuple[RunFolder, Result]:
    return trained(place, "retrieval.yaml", f"init.run={pretrained.folder}")


def test_the_queue_knows_the_image_of_each_caption(tuned: tuple[RunFolder, Result], pretrained: RunFolder):
    weights = load_file(tuned[0].checkpoints / "step-4" / "model.safetensors")
    assert set(weights["text_queue.image_ids"].tolist()) <= set(range(8)), "numbers of these data, not of the old"
    assert int(weights["text_queue.filled"]) == 8
    assert "objectives.masked_language.head.student.bias" not in weights
    assert "unexpected: codebook, masked_language" in tuned[1].stderr


def test_a_pretrained_match_head_and_temperature_are_taken(tuned: tuple[RunFolder, Result]):
    assert "; new" not in tuned[1].stderr


def test_zero_shot_is_refused_where_the_lineage_saw_the_data_set(tuned: tuple[RunFolder, Result], place: Path):
    run = tuned[0]
    assert Manifest.read(run.manifest).facts["trained_on"] == ["coco"]
    refused = cbalign(place, "evaluate", str(run.folder), "--zero-shot")
    assert refused.code == 2
    assert "not zero-shot: this run was trained on coco" in refused.stderr
    assert not list(run.evaluation.glob("*.json"))
    allowed = cbalign(place, "evaluate", str(run.folder), "--on", "test", "--zero-shot")
    assert allowed.code == 0, allowed.stderr
    assert "zero-shot: not trained on this data set" in allowed.stdout


def test_an_ancestor_counts_as_the_run_itself(tuned: tuple[RunFolder, Result], place: Path):
    spec = place / "again.yaml"
    spec.write_text(RETRIEVAL.replace("coco_train.json", "other.json").replace("on: validation", "on: test"))
    (place / "other.json").write_text((place / "coco_train.json").read_text())
    (run, _) = trained(place, "again.yaml", f"init.run={tuned[0].folder}")
    refused = cbalign(place, "evaluate", str(run.folder), "--on", "validation", "--zero-shot")
    assert refused.code == 2
    assert f"{tuned[0].folder.name} was trained on coco" in refused.stderr


def test_a_training_that_would_break_its_own_promise_does_not_begin(place: Path):
    before = sorted((place / "runs").iterdir())
    result = cbalign(place, "train", "retrieval.yaml", "--set", "evaluate.0.zero_shot=true")
    assert result.code == 2
    assert "not zero-shot: retrieves was trained on coco" in result.stderr
    assert sorted((place / "runs").iterdir()) == before


def test_the_published_figure_stands_beside_ours_with_what_differs(tuned: tuple[RunFolder, Result], place: Path):
    run = str(tuned[0].folder)
    result = cbalign(place, "evaluate", run, "--on", "test", "--protocol", "rerank", "--zero-shot")
    assert result.code == 0, result.stderr
    line = next(line for line in result.stdout.splitlines() if "text R@1" in line)
    assert line.startswith("published CODIS, Flickr30k 1K zero-shot, text R@1: 91.70; here ")
    assert "4 images, published 1,000" in line
    assert "16 px, published 384" in line
    assert "not zero-shot" not in line
    dual = cbalign(place, "evaluate", run, "--on", "test", "--protocol", "dual")
    assert "published" not in dual.stdout, "another protocol is another number"
