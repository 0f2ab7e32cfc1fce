from __future__ import annotations

import json
import math
from collections import Counter
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbalign.data.arrays import FloatArray
from cbalign.evaluation import geometry, ranking
from cbalign.evaluation.diagnostics import Ties, texts_by_texts
from cbalign.evaluation.geometry import Geometry
from cbalign.evaluation.information import CodeInformation, expected_information
from cbalign.evaluation.ranking import Relevance, rank
from cbalign.evaluation.result import EvaluationDocument, RetrievalResult
from cbalign.evaluation.retrieval import RetrievalEvaluator
from cbalign.evaluation.sections.evaluations import RetrievalEvaluation
from cbalign.evaluation.table import format_table
from cbalign.parts.metrics import better

from .conftest import NumberedSource, TableEncoder, unit_rows

CODES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12)


def squared(x: FloatArray, y: FloatArray) -> float:
    return sum((float(a) - float(b)) ** 2 for a, b in zip(x, y, strict=True))


def log_mean(distances: list[float]) -> float | None:
    return math.log(math.fsum(math.exp(-2 * d) for d in distances) / len(distances)) if distances else None


@given(images=st.integers(1, 7), more=st.integers(0, 9), seed=st.integers(0, 10_000), same=st.booleans())
def test_geometry_equals_sums_over_all_pairs(images: int, more: int, seed: int, same: bool) -> None:
    generator = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(images), generator.integers(images, size=more)])
    generator.shuffle(owner)
    x, y = unit_rows(generator, images, 5), unit_rows(generator, len(owner), 5)
    if same:  # a collapsed model
        x, y = np.repeat(x[:1], len(x), axis=0), np.repeat(x[:1], len(y), axis=0)
    found = Geometry.of(x, y, owner)

    centre_x = [math.fsum(map(float, column)) / len(x) for column in x.T]
    centre_y = [math.fsum(map(float, column)) / len(y) for column in y.T]
    assert found.modality_gap == pytest.approx(math.dist(centre_x, centre_y), abs=1e-7)
    true = [squared(x[i], y[t]) for t, i in enumerate(owner)]
    assert found.alignment == pytest.approx(math.fsum(true) / len(true), abs=1e-12)
    within = [squared(y[s], y[t]) for s, t in combinations(range(len(y)), 2) if owner[s] == owner[t]]
    assert found.alignment_texts == (pytest.approx(math.fsum(within) / len(within), abs=1e-12) if within else None)
    wrong = [squared(x[i], y[t]) for i in range(images) for t in range(len(y)) if owner[t] != i]
    for value, distances in (
        (found.uniformity_images, [squared(a, b) for a, b in combinations(x, 2)]),
        (found.uniformity_texts, [squared(a, b) for a, b in combinations(y, 2)]),
        (found.uniformity_cross, wrong),
    ):
        expected = log_mean(distances)
        assert value == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_chunks_do_not_change_uniformity_and_an_even_part_estimates_it(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    x, y, owner = unit_rows(generator, 300, 4), unit_rows(generator, 600, 4), np.repeat(np.arange(300), 2)
    whole = Geometry.of(x, y, owner)
    monkeypatch.setattr(geometry, "_CHUNK_VALUES", 1100)
    chunked = Geometry.of(x, y, owner)
    assert chunked.uniformity_texts == pytest.approx(whole.uniformity_texts)
    assert chunked.uniformity_cross == pytest.approx(whole.uniformity_cross)
    monkeypatch.setattr(geometry, "MOST_VECTORS", 150)
    part = Geometry.of(x, y, owner)
    assert part.alignment == whole.alignment
    assert part.uniformity_texts != whole.uniformity_texts
    assert part.uniformity_texts == pytest.approx(whole.uniformity_texts, abs=0.05)


def information(pairs: list[tuple[int, int]]) -> float:
    """From entropies: I = H(a) + H(b) − H(a, b)."""
    return entropy([a for a, _ in pairs]) + entropy([b for _, b in pairs]) - entropy(pairs)


def entropy(values: list[int] | list[tuple[int, int]]) -> float:
    return math.fsum(-n / len(values) * math.log(n / len(values)) for n in Counter(values).values())


@given(CODES)
def test_mutual_information_is_the_difference_of_entropies(pairs: list[tuple[int, int]]) -> None:
    images, texts = np.array(pairs).T
    found = CodeInformation.of(images, texts)
    mean = (entropy(images.tolist()) + entropy(texts.tolist())) / 2
    assert found.mutual_information == pytest.approx(information(pairs), abs=1e-12)
    assert found.normalised == pytest.approx(information(pairs) / mean if mean else 0, abs=1e-12)
    chance = expected_information(np.unique(images, return_counts=True)[1], np.unique(texts, return_counts=True)[1])
    if mean - chance > 1e-9:
        assert found.adjusted == pytest.approx((information(pairs) - chance) / (mean - chance), abs=1e-9)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=6))
def test_information_by_chance_is_the_mean_over_all_ways_to_pair(pairs: list[tuple[int, int]]) -> None:
    images, texts = np.array(pairs).T
    every = [information(list(zip(images.tolist(), order, strict=True))) for order in permutations(texts.tolist())]
    counts = [np.unique(codes, return_counts=True)[1] for codes in (images, texts)]
    assert expected_information(*counts) == pytest.approx(math.fsum(every) / len(every), abs=1e-12)


def test_many_codes_of_random_pairs_look_informative_until_they_are_adjusted() -> None:
    generator = np.random.default_rng(1)
    images, texts = generator.integers(400, size=(2, 1000))
    found = CodeInformation.of(images, texts)
    assert found.normalised > 0.7
    assert found.adjusted == pytest.approx(0, abs=0.05)
    assert CodeInformation.of(images, (images * 7 + 3) % 401).adjusted == pytest.approx(1)


@given(st.data())
def test_optimistic_ranks_are_those_of_a_sort_that_puts_right_items_first(data: st.DataObject) -> None:
    queries = data.draw(st.integers(1, 6))
    levels = st.integers(-2, 2)
    image = np.array(data.draw(st.lists(levels, min_size=2 * queries, max_size=2 * queries)), np.float32).reshape(-1, 2)
    owner = np.array([*range(queries), *data.draw(st.lists(st.integers(0, queries - 1), max_size=5))])
    text = image[owner] + np.array(data.draw(st.lists(levels, min_size=len(owner), max_size=len(owner))))[:, None]
    found = rank(image, text.astype(np.float32), Relevance.captions_of_images(owner, queries))
    ranks = []
    for scores, i in zip(image @ text.T, range(queries), strict=True):
        order = sorted(range(len(owner)), key=lambda t: (-scores[t], owner[t] != i))
        ranks.append(next(place for place, t in enumerate(order, 1) if owner[t] == i))
    assert (found.ranks - found.tied).tolist() == ranks
    ties = Ties.of(found)
    assert ties.ties == pytest.approx(100 * np.mean([a != b for a, b in zip(ranks, found.ranks, strict=True)]))
    assert ties.optimistic_r1 == pytest.approx(100 * np.mean([one == 1 for one in ranks]))


@pytest.mark.parametrize("chunk", [1 << 23, 40])
def test_captions_find_the_other_captions_of_their_image(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(ranking, "_CHUNK_SCORES", chunk)
    generator = np.random.default_rng(4)
    owner = generator.permutation([0, 0, 0, 1, 2, 2, 3, 4, 4, 4, 4])
    texts = unit_rows(generator, len(owner), 3)
    found = texts_by_texts(texts, owner, 0)
    assert found is not None
    expected = []
    for t in np.argsort(owner, kind="stable"):
        others = [s for s in range(len(owner)) if s != t]
        if any(owner[s] == owner[t] for s in others):
            order = sorted(others, key=lambda s: -float(texts[t].astype(np.float64) @ texts[s].astype(np.float64)))
            expected.append(next(place for place, s in enumerate(order, 1) if owner[s] == owner[t]))
    assert found.ranks.tolist() == expected
    assert texts_by_texts(texts[:3], np.arange(3), 0) is None
    monkeypatch.setattr(geometry, "MOST_VECTORS", 3)
    some = texts_by_texts(texts, owner, 0)
    assert some is not None
    assert some.ranks.tolist() == [expected[i] for i in (0, 3, 6)]


@pytest.fixture
def results(world: tuple[TableEncoder, NumberedSource], section: RetrievalEvaluation) -> tuple[RetrievalResult, ...]:
    return RetrievalEvaluator(section).evaluate(*world)


def test_every_evaluation_has_diagnostics_once(results: tuple[RetrievalResult, ...]) -> None:
    dual, rerank, code = (result.flat() for result in results)
    assert {"dual/diagnostics/modality_gap", "dual/diagnostics/text_to_text_r1"} <= {*dual}
    assert [*(name for name in rerank if "/diagnostics/" in name)] == [
        f"rerank/diagnostics/{way}_{name}"
        for names in (("ties", "optimistic_r1", "optimistic_r5", "optimistic_r10"), ("calibration_error", "confidence"))
        for way in ("image_to_text", "text_to_image")
        for name in names
    ]
    assert "code/diagnostics/adjusted" in code
    assert "code/diagnostics/modality_gap" not in code
    report = format_table(results)
    assert report.index("median rank") < report.index("diagnostics on test") < report.index("modality gap")
    assert "ties of" not in report


def test_the_first_protocol_has_the_geometry_where_dual_is_not_measured(
    world: tuple[TableEncoder, NumberedSource], section: RetrievalEvaluation
) -> None:
    code_first = section.model_copy(update={"protocols": ("code", "rerank")})
    code, rerank = (result.flat() for result in RetrievalEvaluator(code_first).evaluate(*world))
    assert "code/diagnostics/modality_gap" in code
    assert "rerank/diagnostics/modality_gap" not in rerank


def test_ties_are_reported_where_there_are_any(section: RetrievalEvaluation) -> None:
    same = np.ones((4, 1), np.float32)
    encoder = TableEncoder(same, same, np.zeros((4, 4), np.float32))
    tied = section.model_copy(update={"protocols": ("dual", "rerank"), "top_k": 4})
    results = RetrievalEvaluator(tied).evaluate(encoder, NumberedSource([(0,), (1,), (2,), (3,)]))
    for result in results:
        assert result.flat()[f"{result.protocol}/diagnostics/image_to_text_optimistic_r1"] == 100
        assert result.flat()[f"{result.protocol}/image_to_text/r1"] == 0
    line = "100.0 and 100.0 % of image and text queries; R@1 100.0 and 100.0 if they did not count"
    assert [row for row in format_table(results).splitlines() if "ties of rerank top 4" in row and row.endswith(line)]


def test_documents_of_earlier_versions_have_no_diagnostics_and_still_load(results: tuple[RetrievalResult, ...]) -> None:
    document = EvaluationDocument("runs/a", 1, "torch", results, {}, "2026-01-01T00:00:00+00:00")
    values = json.loads(document.to_json())
    assert values["results"][0]["diagnostics"]["geometry"]["modality_gap"] > 0
    assert EvaluationDocument.from_json(document.to_json()).to_json() == document.to_json()
    for result in values["results"]:
        del result["diagnostics"]
    (old, *_) = EvaluationDocument.from_json(json.dumps(values)).results
    assert not [name for name in old.flat() if "diagnostics" in name]
    assert {name: value for name, value in results[0].flat().items() if "diagnostics" not in name} == old.flat()
    shared = {*old.paired_intervals(results[0], 10)}
    assert {*results[0].paired_intervals(old, 10)} == shared
    assert {*results[0].paired_intervals(results[0], 10)} - shared == {
        f"dual/diagnostics/text_to_text_{name}" for name in ("r1", "r5", "r10", "mean_rank", "median_rank")
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test/dual/image_to_text/r1", "higher"),
        ("dual/image_to_text/mean_rank", "lower"),
        ("loss/contrastive", "lower"),
        ("dual/diagnostics/modality_gap", "neither"),
        ("dual/diagnostics/image_to_text_optimistic_r1", "neither"),
        ("dual/diagnostics/image_to_text_ties", "lower"),
        ("dual/diagnostics/alignment_texts", "lower"),
        ("dual/diagnostics/uniformity_cross", "lower"),
        ("dual/diagnostics/text_to_text_r1", "higher"),
        ("code/diagnostics/mutual_information", "higher"),
        ("rerank/diagnostics/image_to_text_calibration_error", "lower"),
        ("rerank/diagnostics/image_to_text_confidence", "neither"),
    ],
)
def test_the_direction_of_a_metric_follows_from_its_name(name: str, expected: str) -> None:
    assert better(name) == expected
