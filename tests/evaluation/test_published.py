"""Published figures next to measured ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cbalign.evaluation.published import compare_with_published
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


def test_the_same_protocol_is_said_without_reserve() -> None:
    (found,) = compare_with_published(STATEMENTS, "validation", ("nlvr2",), fine_tuned=True)
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
    (found,) = compare_with_published(replace(STATEMENTS, **changes), "validation", ("nlvr2",), fine_tuned=True)
    assert told in str(found)


def test_what_only_a_server_can_measure_is_never_said_to_be_the_same() -> None:
    answers = replace(
        STATEMENTS, protocol="rank", setting="top 128", metrics={"accuracy": 70.0, "accuracy_other": 60.0}
    )
    (found,) = compare_with_published(answers, "validation", ("coco",), fine_tuned=True)
    assert str(found) == (
        "published CODIS, VQA v2 test-dev, accuracy: 73.15; here 70.00; the protocol differs: "
        "other items, published those of a server that keeps the answers"
    )
    (other,) = compare_with_published(replace(answers, setting="top 10"), "validation", ("coco",), fine_tuned=True)
    assert "top 10, published top 128" in str(other)
    assert compare_with_published(answers, "test", ("coco",), fine_tuned=True) == ()


def test_other_data_and_splits_have_no_figure() -> None:
    assert compare_with_published(STATEMENTS, "train", ("nlvr2",), fine_tuned=True) == ()
    assert compare_with_published(STATEMENTS, "validation", ("scenes",), fine_tuned=True) == ()
    assert compare_with_published(STATEMENTS, "validation", ("nlvr2", "scenes"), fine_tuned=True) == ()
