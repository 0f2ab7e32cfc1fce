from __future__ import annotations

import json

import pytest

from cbalign.errors import UsageError
from cbalign.evaluation.base import Result
from cbalign.evaluation.composition import CompositionalEvaluator
from cbalign.evaluation.formats import benchmark_files
from cbalign.evaluation.result import EvaluationDocument
from cbalign.evaluation.retrieval import RetrievalEvaluator
from cbalign.evaluation.sections.composition import CompositionalEvaluation
from cbalign.evaluation.sections.evaluations import RetrievalEvaluation

from .conftest import NumberedSource, TableEncoder
from .test_composition import FoilSource

World = tuple[TableEncoder, NumberedSource]


def files(results: tuple[Result, ...], name: str, data_set: str = "flickr30k") -> dict[str, dict]:
    document = EvaluationDocument("runs/tiny", 12, "torch", results, {}, "2026-01-01T00:00:00+00:00")
    return {file: json.loads(text) for file, text in benchmark_files(document, {"test": data_set}, name).items()}


def test_retrieval_has_clip_benchmarks_keys_and_shares(world: World, section: RetrievalEvaluation) -> None:
    dual, rerank, _ = RetrievalEvaluator(section).evaluate(*world)
    found = files((dual, rerank), "clip_benchmark")
    assert list(found) == ["test-dual-zeroshot_retrieval.json", "test-rerank-top-5-zeroshot_retrieval.json"]
    first, second = found.values()
    assert first | {"metrics": {}} == {
        "dataset": "flickr30k",
        "model": "tiny",
        "pretrained": "step-12",
        "task": "zeroshot_retrieval",
        "metrics": {},
        "language": "en",
    }
    assert second["model"] == "tiny (rerank top 5)"
    assert first["metrics"]["image_retrieval_recall@5"] == pytest.approx((dual.text_to_image.ranks <= 5).mean())
    assert first["metrics"]["text_retrieval_recall@1"] == pytest.approx((dual.image_to_text.ranks == 1).mean())
    assert len(first["metrics"]) == 6


def test_retrieval_is_two_tasks_of_mteb(world: World, section: RetrievalEvaluation) -> None:
    dual, *_ = RetrievalEvaluator(section).evaluate(*world)
    found = files((dual,), "mteb")
    assert [each["task_name"] for each in found.values()] == ["Flickr30kI2TRetrieval", "Flickr30kT2IRetrieval"]
    (scores,) = found["test-dual-T2IRetrieval.json"]["scores"]["test"]
    assert scores["main_score"] == scores["cv_recall_at_1"] == pytest.approx((dual.text_to_image.ranks == 1).mean())
    assert (scores["hf_subset"], scores["languages"]) == ("default", ["eng-Latn"])
    assert {"dataset_revision", "mteb_version", "evaluation_time"} <= {*found["test-dual-T2IRetrieval.json"]}


def test_foils_have_text_image_and_group_scores(world: World) -> None:
    section = CompositionalEvaluation(kind="compositional", bootstrap=0)
    results = CompositionalEvaluator(section).evaluate(world[0], FoilSource([()] * 5))
    flat = results[0].flat()
    (clip,) = files(results, "clip_benchmark", "winoground").values()
    assert clip["task"] == "image_caption_selection"
    assert clip["metrics"] == {
        "acc": flat["compositional/dual/group"] / 100,
        "text_acc": flat["compositional/dual/text"] / 100,
        "image_acc": flat["compositional/dual/image"] / 100,
    }
    (mteb,) = files(results, "mteb", "winoground").values()
    assert mteb["task_name"] == "Winoground"
    assert mteb["scores"]["test"][0]["main_score"] == clip["metrics"]["acc"]


def test_an_unknown_format_is_refused(world: World, section: RetrievalEvaluation) -> None:
    with pytest.raises(UsageError, match="no such format"):
        files(RetrievalEvaluator(section).evaluate(*world), "csv")
