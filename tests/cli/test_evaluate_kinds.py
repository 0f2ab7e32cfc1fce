"""A spec that lists several kinds of evaluation: during training, afterwards, and compared."""

import json
import shutil
from pathlib import Path

import pytest

from cbalign.engine.manifest import Manifest
from cbalign.engine.run import RunFolder
from tests.cli.tiny import SPEC, cbalign, write_experiment

RETRIEVAL = "evaluate: [{kind: retrieval, on: validation, protocols: [dual]}]"
KINDS = """\
evaluate:
  - {kind: retrieval, on: validation, protocols: [dual]}
  - {kind: zero_shot, images: classes, templates: ["a {} square"], bootstrap: 20}
  - {kind: compositional, foils: swaps.json, protocols: [dual, match], bootstrap: 20}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = write_experiment(tmp_path_factory.mktemp("kinds"))
    assert RETRIEVAL in SPEC
    (folder / "spec.yaml").write_text(SPEC.replace(RETRIEVAL, KINDS))
    for name in ("red", "blue"):
        (folder / "classes" / name).mkdir(parents=True)
        shutil.copy(folder / "0.png", folder / "classes" / name)
    foils = [{"filename": f"{n}.png", "caption": "a red square", "negative_caption": "a blue square"} for n in range(4)]
    (folder / "swaps.json").write_text(json.dumps(foils))
    return folder


@pytest.fixture(scope="module")
def runs(place: Path) -> list[RunFolder]:
    found = []
    for seed in ("0", "1"):
        result = cbalign(place, "train", "spec.yaml", "--set", f"train.seed={seed}")
        assert result.code == 0, result.stderr
        found.append(RunFolder(place / result.stdout.strip()))
        assert cbalign(place, "evaluate", str(found[-1].folder)).code == 0
    return found


def test_a_training_measures_all_of_them_and_records_their_data(runs):
    last = json.loads(runs[0].metrics.read_text().splitlines()[-1])
    assert {
        "validation/dual/image_to_text/r1",
        "validation/dual/diagnostics/modality_gap",
        "classes/zero_shot/dual/accuracy",
        "swaps/compositional/match/accuracy",
    } <= last.keys()
    fingerprints = Manifest.read(runs[0].manifest).facts["fingerprints"]
    assert fingerprints.keys() == {"train", "validation", "zero_shot classes", "compositional swaps"}


def test_each_result_has_a_file_of_its_own(runs):
    assert {path.name for path in runs[0].evaluation.iterdir()} == {
        "validation-dual-step6.json",
        "classes-zero_shot-dual-step6.json",
        "swaps-compositional-dual-step6.json",
        "swaps-compositional-match-step6.json",
    }


def test_diff_and_compare_list_diagnostics_and_scores_of_foils_and_classes(place, runs):
    folders = [str(run.folder) for run in runs]
    found = json.loads(cbalign(place, "diff", *folders, "--json").stdout)
    text = json.dumps(found)
    assert "validation dual, modality gap" in text
    assert "classes zero_shot dual, accuracy" in text
    compared = json.loads(cbalign(place, "runs", "compare", *folders, "--json").stdout)
    assert "validation/dual/diagnostics/modality_gap" in compared["metrics"]


def test_an_option_leaves_out_the_kinds_that_lack_it(place, runs):
    run = str(runs[0].folder)
    found = json.loads(cbalign(place, "evaluate", run, "--protocol", "match", "--json").stdout)
    assert [result["setting"] for result in found["results"]] == ["match"]
    found = json.loads(cbalign(place, "evaluate", run, "--on", "classes", "--json").stdout)
    assert [result["protocol"] for result in found["results"]] == ["zero_shot"]
    wrong = cbalign(place, "evaluate", run, "--protocol", "rank")
    assert wrong.code == 2
