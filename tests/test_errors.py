"""Messages that quote what somebody else wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cbalign.errors import CbalignError, DataError
from cbalign.evaluation.result import EvaluationDocument
from cbalign.experiment.diagnostics import InvalidSpec
from cbalign.experiment.load import load_experiment


def test_control_characters_of_a_message_cannot_change_what_a_terminal_shows() -> None:
    error = CbalignError("no file \x1b[2J\x00\u202etxt\n\tnext line", remedy="remove \x07 é 日本")
    assert str(error) == "no file \\x1b[2J\\x00\\u202etxt\n\tnext line\nremove \\x07 é 日本"
    assert error.args == (error.message,)


def test_a_long_line_of_a_message_is_cut_and_the_others_are_kept() -> None:
    first, second, third = CbalignError("first\n" + "x" * 100_000 + "end\nthird").message.split("\n")
    assert (first, third) == ("first", "third")
    assert second.startswith("xxx")
    assert second.endswith("xxxend")
    assert "(100,003 characters)" in second
    assert len(second) < 2_000


@pytest.mark.parametrize(
    "text", ["extends: {name}\nname: a\n", "name: a\n{name}: 1\n", "name: a\nmodel: {{vision: {{kind: {name}}}}}\n"]
)
def test_a_mistake_in_a_spec_quotes_long_and_unprintable_names_in_few_words(text: str, tmp_path: Path) -> None:
    for name, unwanted in (("x" * 3_000, "x" * 2_000), ('"\\e[2J\\0"', "\x1b")):
        (tmp_path / "spec.yaml").write_text("cbalign: 1\n" + text.format(name=name))
        with pytest.raises(InvalidSpec) as caught:
            load_experiment(tmp_path / "spec.yaml")
        assert unwanted not in str(caught.value)
        assert all(unwanted not in str(mistake.as_data()) for mistake in caught.value.diagnostics)


@pytest.mark.parametrize("results", [[None], [[]], ["text"], [{}], None, 5])
def test_results_that_are_none_are_a_data_error(results: object) -> None:
    known = {"subject": "x", "step": 1, "backend": "x", "versions": {}, "created": "x"}
    assert EvaluationDocument.from_json(json.dumps({**known, "schema_version": 1, "results": []})).results == ()
    with pytest.raises(DataError, match=r"not an evaluation|not a retrieval result"):
        EvaluationDocument.from_json(json.dumps({**known, "schema_version": 1, "results": results}))
