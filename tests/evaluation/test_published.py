"""Published figures next to measured ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cbalign.evaluation.metrics import DirectionResult
from cbalign.evaluation.published import MeasuredModel, compare_with_published
from cbalign.evaluation.result import RetrievalResult
from cbalign.evaluation.scored import ScoredResult

STATEMENTS = ScoredResult(
    protocol="accuracy",
    setting="",
    split="validation",
    source="dev.json",
    gallery="",
    items=6982,
    skipped=0,
    image_size=384,
    ids=(),
    predictions=(),
    scores=np.zeros(0),
    metrics={"accuracy": 70.0, "consistency": 30.0},
    interval=None,
)
MODEL = MeasuredModel(fine_tuned_on=("nlvr2",), max_tokens=64)
RANKS = DirectionResult.of(np.ones(10, np.int64), 0)
FLICKR = RetrievalResult(
    protocol="rerank",
    split="test",
    source="dataset_flickr30k",
    gallery="",
    images=1000,
    texts=5000,
    skipped_images=0,
    image_size=384,
    top_k=128,
    image_to_text=RANKS,
    text_to_image=RANKS,
    codebook=None,
    zero_shot=True,
)


def test_the_same_protocol_is_said_without_reserve() -> None:
    (found,) = compare_with_published(STATEMENTS, "validation", ("nlvr2",), MODEL)
    assert str(found) == "published CODIS, NLVR2 dev, accuracy: 80.50; here 70.00"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"items": 100}, "100 items, published 6,982"),
        ({"image_size": 256}, "256 px, published 384"),
        ({"skipped": 3}, "3 items left out"),
    ],
)
def test_what_differs_is_said(changes: dict[str, int], told: str) -> None:
    (found,) = compare_with_published(replace(STATEMENTS, **changes), "validation", ("nlvr2",), MODEL)
    assert told in str(found)


def test_what_only_a_server_can_measure_is_never_said_to_be_the_same() -> None:
    answers = replace(
        STATEMENTS, protocol="rank", setting="top 128", metrics={"accuracy": 70.0, "accuracy_other": 60.0}
    )
    (found,) = compare_with_published(answers, "validation", ("coco",), replace(MODEL, fine_tuned_on=("coco", "vg")))
    assert str(found) == (
        "published CODIS, VQA v2 test-dev, accuracy: 73.15; here 70.00; the protocol differs: "
        "other items, published those of a server that keeps the answers"
    )
    (other,) = compare_with_published(replace(answers, setting="top 10"), "validation", ("coco",), MODEL)
    assert "top 10, published top 128" in str(other)
    assert compare_with_published(answers, "test", ("coco",), MODEL) == ()


def test_other_data_and_splits_have_no_figure() -> None:
    assert compare_with_published(STATEMENTS, "train", ("nlvr2",), MODEL) == ()
    assert compare_with_published(STATEMENTS, "validation", ("scenes",), MODEL) == ()
    assert compare_with_published(STATEMENTS, "validation", ("nlvr2", "scenes"), MODEL) == ()


@pytest.mark.parametrize(
    ("fine_tuned_on", "told"),
    [
        (("coco",), ()),
        ((), ("not fine-tuned, published fine-tuned on COCO",)),
        (("flickr30k",), ("fine-tuned on Flickr30k, published fine-tuned on COCO",)),
        (("coco", "photos"), ("fine-tuned on COCO and photos, published fine-tuned on COCO",)),
        (None, ("a model of unknown training data, published fine-tuned on COCO",)),
    ],
)
def test_the_zero_shot_figure_of_the_field_is_of_a_model_fine_tuned_on_coco(fine_tuned_on, told) -> None:
    found = compare_with_published(FLICKR, "test", ("flickr30k",), MeasuredModel(fine_tuned_on, max_tokens=30))
    assert [(one.published, one.measured, one.differs) for one in found] == [(91.7, 100.0, told), (79.7, 100.0, told)]


@pytest.mark.parametrize(
    ("changes", "max_tokens", "told"),
    [
        ({"zero_shot": False}, 30, "not zero-shot, published zero-shot"),
        ({"top_k": 16}, 30, "top 16, published 128"),
        ({"images": 999}, 30, "999 images, published 1,000"),
        ({"image_size": 256}, 30, "256 px, published 384"),
        ({}, 25, "texts cut at 25 tokens, published at 30"),
    ],
)
def test_every_other_difference_of_retrieval_is_said(changes, max_tokens, told) -> None:
    result = replace(FLICKR, **changes)
    found = compare_with_published(result, "test", ("flickr30k",), MeasuredModel(("coco",), max_tokens))
    assert [one.differs for one in found] == [(told,), (told,)]


def test_an_untuned_figure_at_an_unknown_size_is_never_said_to_be_the_same() -> None:
    result = replace(FLICKR, images=5000, texts=25010, top_k=256, zero_shot=False)
    unknown, tuned = "384 px, published at an unknown size", "fine-tuned on COCO, published not fine-tuned"
    for fine_tuned_on, told in (((), (unknown,)), (("coco",), (unknown, tuned))):
        found = compare_with_published(result, "test", ("coco",), MeasuredModel(fine_tuned_on, 30))
        assert [one.differs for one in found] == [told, told]
