from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cbalign.errors import DataError, DivergenceError, UsageError
from cbalign.evaluation.retrieval import RetrievalEvaluator
from cbalign.evaluation.sections.evaluations import RetrievalEvaluation

from .conftest import NumberedSource, TableEncoder

REFERENCE = Path(__file__).parents[1] / "reference" / "albef-tiny"


def first_right(order: list[int], right: set[int]) -> int:
    return next(position for position, item in enumerate(order, start=1) if item in right)


def reranked(dual: list[float], match: list[float], k: int) -> list[int]:
    """All items: the k best by dual score in the order of their match scores, then the rest by dual score."""
    order = sorted(range(len(dual)), key=lambda i: -dual[i])
    return sorted(order[:k], key=lambda i: -match[i]) + order[k:]


def test_every_protocol_equals_brute_force_over_all_pairs(
    world: tuple[TableEncoder, NumberedSource], section: RetrievalEvaluation
) -> None:
    encoder, source = world
    every = section.model_copy(update={"protocols": ("dual", "rerank", "code", "dual+code")})
    dual, rerank, code, both = RetrievalEvaluator(every).evaluate(encoder, source)
    owner = [i for i, own in enumerate(source.captions) for _ in own]
    cosine = encoder.images @ encoder.texts.T
    assert encoder.matches is not None
    assert encoder.distributions is not None
    overlap = np.array([[np.sqrt(p * q).sum() for q in encoder.distributions[1]] for p in encoder.distributions[0]])

    for result, table in ((dual, cosine), (code, overlap), (both, cosine + overlap)):
        assert result.image_to_text.ranks.tolist() == [
            first_right(list(np.argsort(-table[i])), set(source.captions[i])) for i in range(11)
        ]
        assert result.text_to_image.ranks.tolist() == [
            first_right(list(np.argsort(-table[:, t])), {owner[t]}) for t in range(len(owner))
        ]
    assert rerank.image_to_text.ranks.tolist() == [
        first_right(reranked(cosine[i], encoder.matches[i], 5), set(source.captions[i])) for i in range(11)
    ]
    assert rerank.text_to_image.ranks.tolist() == [
        first_right(reranked(cosine[:, t], encoder.matches[:, t], 5), {owner[t]}) for t in range(len(owner))
    ]
    assert dual.describe() == "dual of 11 images × 21 texts, 4 px"
    assert rerank.describe() == "rerank top 5 of 11 images × 21 texts, 4 px"


def test_each_pair_is_scored_once_and_images_are_not_split_without_need(
    world: tuple[TableEncoder, NumberedSource], section: RetrievalEvaluation
) -> None:
    encoder, source = world
    small = section.model_copy(update={"protocols": ("rerank",), "batch_size": 16})
    RetrievalEvaluator(small).evaluate(encoder, source)
    cosine = encoder.images @ encoder.texts.T
    wanted = {(i, int(t)) for i in range(11) for t in np.argsort(-cosine[i])[:5]}
    wanted |= {(int(i), t) for t in range(21) for i in np.argsort(-cosine[:, t])[:5]}
    assert sorted(encoder.matched) == sorted(wanted)
    assert max(pairs for _, pairs in encoder.match_calls) <= 16
    pairs_of = [sum(i == image for i, _ in wanted) for image in range(11)]
    assert sum(images for images, _ in encoder.match_calls) == sum(-(-pairs // 16) for pairs in pairs_of)


def test_reranking_all_of_the_gallery_is_ranking_by_match_score(
    world: tuple[TableEncoder, NumberedSource], section: RetrievalEvaluation
) -> None:
    encoder, source = world
    assert encoder.matches is not None
    wide = section.model_copy(update={"protocols": ("rerank",), "top_k": 1000})
    (found,) = RetrievalEvaluator(wide).evaluate(encoder, source)
    assert found.top_k == 21
    assert found.image_to_text.ranks.tolist() == [
        first_right(list(np.argsort(-encoder.matches[i])), set(source.captions[i])) for i in range(11)
    ]


def test_recall_equals_what_albef_recorded(section: RetrievalEvaluation) -> None:
    """Scores of ALBEF's code on 6 images with 2 captions each, and the recall that it computed from them."""
    tensors = load_file(REFERENCE / "expected.safetensors")
    recorded = json.loads((REFERENCE / "retrieval_metrics.json").read_text())
    dual_scores, k = tensors["rerank.dual_scores"], int(tensors["rerank.k"])
    both = np.stack([tensors["rerank.itm_i2t"], tensors["rerank.itm_t2i"].T])
    assert np.abs(both[0] - both[1])[(both > -100).all(axis=0)].max() < 1e-5
    encoder = TableEncoder(np.eye(6, dtype=np.float32), dual_scores.T.copy(), both.max(axis=0))
    source = NumberedSource([(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)])
    both_protocols = section.model_copy(update={"protocols": ("dual", "rerank"), "top_k": k})
    dual, rerank = RetrievalEvaluator(both_protocols).evaluate(encoder, source)
    assert (both > -100).any(axis=0).sum() == len(encoder.matched)
    for prefix, direction in (("txt", dual.image_to_text.metrics), ("img", dual.text_to_image.metrics)):
        for at in (1, 5, 10):
            assert getattr(direction, f"r{at}") == pytest.approx(recorded["dual"][f"{prefix}_r{at}"])
    # Beyond k, ALBEF's order is an artefact: only R@1 is within k = 4.
    assert rerank.image_to_text.metrics.r1 == pytest.approx(recorded["itm"]["txt_r1"])
    assert rerank.text_to_image.metrics.r1 == pytest.approx(recorded["itm"]["img_r1"])


def test_codebook_statistics_are_those_of_the_nearest_codes(section: RetrievalEvaluation) -> None:
    one_hot = np.eye(4, dtype=np.float32)
    encoder = TableEncoder(
        np.eye(3, dtype=np.float32), -np.eye(3, dtype=np.float32), None, (one_hot[[0, 0, 1]], one_hot[[0, 2, 1]])
    )
    by_code = section.model_copy(update={"protocols": ("code",)})
    (result,) = RetrievalEvaluator(by_code).evaluate(encoder, NumberedSource([(0,), (1,), (2,)]))
    use = result.codebook
    assert use is not None
    assert (use.size, use.used, use.used_by_images, use.used_by_texts) == (4, 3, 2, 3)
    assert use.agreement == pytest.approx(200 / 3)
    assert use.perplexity_texts == pytest.approx(3)
    assert use.perplexity_images == pytest.approx(3 / 2 ** (2 / 3))
    assert use.entropy_images == pytest.approx(0, abs=1e-6)
    # Image 0 ties with nothing but its own text; image 1 shares no code with its text, so all wrong ones tie with it.
    assert result.image_to_text.ranks.tolist() == [1, 3, 1]


def test_unreadable_images_leave_with_their_captions(
    world: tuple[TableEncoder, NumberedSource], section: RetrievalEvaluation
) -> None:
    encoder, source = world
    source.unreadable = frozenset({0, 4})
    dual, *_ = RetrievalEvaluator(section).evaluate(encoder, source, corrupt_limit=0.2)
    assert (dual.images, dual.texts, dual.skipped_images) == (9, 18, 2)
    kept = [i for i in range(11) if i not in (0, 4)]
    texts = [t for i in kept for t in source.captions[i]]
    cosine = encoder.images @ encoder.texts.T
    assert dual.image_to_text.ranks.tolist() == [
        first_right([texts[t] for t in np.argsort(-cosine[i, texts])], set(source.captions[i])) for i in kept
    ]


@pytest.mark.parametrize(
    ("unreadable", "limit", "message"),
    [
        ({0, 4}, 0.1, r"at least 2 of 11 items .*corrupt images, 1 are allowed(.|\n)*image-0: cannot be decoded"),
        (set(range(11)), 1.0, "no image can be read; the first: image-0: cannot be decoded"),
    ],
)
def test_too_many_unreadable_images_are_refused(
    world: tuple[TableEncoder, NumberedSource],
    section: RetrievalEvaluation,
    unreadable: set[int],
    limit: float,
    message: str,
) -> None:
    encoder, source = world
    source.unreadable = frozenset(unreadable)
    with pytest.raises(DataError, match=message):
        RetrievalEvaluator(section).evaluate(encoder, source, corrupt_limit=limit)


@pytest.mark.parametrize("table", ["images", "texts", "matches"])
def test_what_is_not_a_number_gets_no_rank(
    world: tuple[TableEncoder, NumberedSource], section: RetrievalEvaluation, table: str
) -> None:
    encoder, source = world
    getattr(encoder, table)[3] = np.nan
    with pytest.raises(DivergenceError, match="not numbers"):
        RetrievalEvaluator(section).evaluate(encoder, source)


@pytest.mark.parametrize(
    ("part", "protocol"), [("matches", "rerank"), ("distributions", "code"), ("distributions", "dual[+]code")]
)
def test_a_protocol_whose_part_is_missing_is_refused_before_anything_is_encoded(
    world: tuple[TableEncoder, NumberedSource], section: RetrievalEvaluation, part: str, protocol: str
) -> None:
    encoder, source = world
    setattr(encoder, part, None)
    source.unreadable = frozenset(range(11))
    only = section.model_copy(update={"protocols": (protocol.replace("[+]", "+"),)})
    with pytest.raises(UsageError, match=protocol):
        RetrievalEvaluator(only).evaluate(encoder, source)
