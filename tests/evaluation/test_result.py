from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from cbalign.errors import DataError
from cbalign.evaluation.differences import largest_difference
from cbalign.evaluation.result import EvaluationDocument, RetrievalResult, file_name
from cbalign.evaluation.retrieval import RetrievalEvaluator
from cbalign.evaluation.sections.evaluations import RetrievalEvaluation
from cbalign.evaluation.table import format_table, markdown_table

from .conftest import NumberedSource, TableEncoder


@pytest.fixture
def results(section: RetrievalEvaluation) -> tuple[RetrievalResult, ...]:
    """Four images and texts; text 3 looks most like image 0."""
    images = np.eye(4, dtype=np.float32)
    texts = np.eye(4, dtype=np.float32)
    texts[3] = [0.8, 0, 0, 0.6]
    encoder = TableEncoder(images, texts, np.eye(4, dtype=np.float32), (images, np.eye(4, dtype=np.float32)))
    source = NumberedSource([(0,), (1,), (2,), (3,)])
    return RetrievalEvaluator(section.model_copy(update={"bootstrap": 50, "top_k": 2})).evaluate(encoder, source)


def test_the_protocol_stands_beside_the_numbers(results: tuple[RetrievalResult, ...]) -> None:
    lines = format_table(results).splitlines()
    assert lines[0].startswith("test (numbered): 4 images × 4 texts, 4 px")
    dual_text_to_image = next(line for line in lines if line.startswith("dual") and "text → image" in line)
    assert "75.0 [" in dual_text_to_image
    assert any(line.startswith("rerank top 2") and "100.0 [100.0, 100.0]" in line for line in lines)
    assert "| rerank top 2 | text → image | 100.0 [100.0, 100.0] |" in markdown_table(results)
    assert "4 of 4 codes used" in format_table(results)


def test_an_evaluation_survives_its_document(results: tuple[RetrievalResult, ...]) -> None:
    evaluation = EvaluationDocument("runs/a", 12, "torch cpu", results, {"numpy": "2"}, "2026-01-01T00:00:00+00:00")
    text = evaluation.to_json()
    assert EvaluationDocument.from_json(text).to_json() == text
    document = json.loads(text)
    assert document["schema_version"] == 1
    assert document["results"][0]["text_to_image"]["ranks"] == [1, 1, 1, 2]
    assert document["results"][0]["describe"] == "dual of 4 images × 4 texts, 4 px"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 1}', '{"schema_version": 99, "results": []}'])
def test_another_document_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"old\.json"):
        EvaluationDocument.from_json(text, name="old.json")


def test_results_of_other_protocols_and_checkpoints_get_other_files(results: tuple[RetrievalResult, ...]) -> None:
    assert [file_name(result, 40) for result in results] == [
        "test-dual-step40.json",
        "test-rerank2-step40.json",
        "test-code-step40.json",
    ]


def test_the_largest_difference_between_two_evaluations_is_found(results: tuple[RetrievalResult, ...]) -> None:
    assert largest_difference(results, results)[1] == 0
    dual, rerank, _ = results
    other = replace(dual, text_to_image=rerank.text_to_image)
    assert largest_difference([dual], [other]) == ("dual/text_to_image/r1", 25)


def test_numbers_have_names_for_training_logs(results: tuple[RetrievalResult, ...]) -> None:
    dual, rerank, code = (result.flat() for result in results)
    assert dual["dual/text_to_image/r1"] == 75
    assert rerank["rerank/text_to_image/r1"] == 100
    assert code["code/codebook/used"] == 4
