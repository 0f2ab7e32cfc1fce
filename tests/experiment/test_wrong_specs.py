"""What a wrong spec is told. The expected words are in golden/; `CBALIGN_UPDATE_GOLDEN=1 pytest` rewrites them."""

import os
from pathlib import Path

import pytest

from cbalign.experiment.diagnostics import InvalidSpec
from cbalign.experiment.load import load_experiment
from tests.experiment.wrong_specs import WRONG

GOLDEN = Path(__file__).with_name("golden")


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_spec_is_told_what_is_wrong_where_and_what_to_do(name, tmp_path, monkeypatch):
    wrong = WRONG[name]
    monkeypatch.chdir(tmp_path)
    text = wrong.text if isinstance(wrong.text, bytes) else wrong.text.encode()
    Path("spec.yaml").write_bytes(text)
    for file, content in wrong.files.items():
        Path(file).write_text(content)
    with pytest.raises(InvalidSpec) as caught:
        load_experiment("spec.yaml", wrong.overrides, profiles=wrong.profiles, environment=wrong.environment)
    told = str(caught.value).replace(str(tmp_path.resolve()), "DIR") + "\n"
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("CBALIGN_UPDATE_GOLDEN"):
        golden.write_text(told, encoding="utf-8")
    assert told == golden.read_text(encoding="utf-8")


def test_every_golden_file_belongs_to_a_wrong_spec():
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(WRONG)


@pytest.mark.parametrize("name", WRONG)
def test_messages_speak_of_specs_and_not_of_pydantic(name):
    told = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    for jargon in ("pydantic", "union_tag", "Input should", "Field required", "Extra inputs", "errors.pydantic"):
        assert jargon not in told
