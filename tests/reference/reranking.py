"""Retrieval as it is evaluated: dual scores, match scores of the best k, and recall by both."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cbalign.data.arrays import FloatArray, IntArray
from cbalign.encoders import ImageFeatures, TextFeatures
from cbalign.evaluation.metrics import RetrievalMetrics
from cbalign.evaluation.ranking import Relevance, rank, rank_candidates
from cbalign.models.encoder import TorchEncoder
from cbalign.tasks.align.network import AlignmentModel
from tests.reference.folder import TOLERANCE, AnotherFormError, Reference, relative_error
from tests.reference.pretraining import prepare

UNSCORED = -100.0  # ALBEF's score of pairs outside the best k
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Side:
    """One direction of retrieval: Q queries, G items."""

    name: str  # in ALBEF's names of the figures
    relevance: Relevance
    dual: FloatArray  # (Q, G)
    match: Callable[[IntArray, IntArray], FloatArray]  # scores of queries (P,) with items (P,)

    @property
    def right(self) -> Mask:
        """(Q, G) whether the item belongs to the query."""
        mask = np.zeros(self.dual.shape, bool)
        mask[self.relevance.query, self.relevance.item] = True
        return mask


def check_reranking(reference: Reference) -> None:
    """`rerank.*` and the recall figures of retrieval_metrics.json."""
    _, model = prepare(reference, reference.weights("pretrain"), 0.0)
    encoder = TorchEncoder(model, tokenizer=None, device=torch.device("cpu"))
    images = encoder.encode_images(reference.pixels("rerank.images").permute(0, 2, 3, 1).contiguous().numpy())
    texts = _encode_texts(reference, model)
    dual = images.embedding @ texts.embedding.T
    reference.compare("rerank.dual_scores", torch.from_numpy(dual))

    owner = _image_of_texts(reference)
    k = int(reference.take("rerank.k"))
    image_side = Side(
        "txt",
        Relevance.captions_of_images(owner, len(images.embedding)),
        dual,
        lambda image, text: _match(encoder, images, texts, image, text),
    )
    text_side = Side(
        "img",
        Relevance.image_of_captions(owner, len(images.embedding)),
        dual.T,
        lambda text, image: _match(encoder, images, texts, image, text),
    )
    by_dual = [
        rank(images.embedding, texts.embedding, image_side.relevance).ranks,
        rank(texts.embedding, images.embedding, text_side.relevance).ranks,
    ]
    exact = figures(*by_dual)
    _report_figures(reference, "dual", [exact])
    by_match = [_rerank(reference, "rerank.itm_i2t", image_side, k), _rerank(reference, "rerank.itm_t2i", text_side, k)]
    # As sorting left it, then the best and the worst that the equal scores of unscored pairs allow.
    _report_figures(reference, "itm", [figures(*ranks) for ranks in zip(*by_match, strict=True)])


def figures(image_ranks: IntArray, text_ranks: IntArray) -> dict[str, float]:
    """ALBEF's figures (Retrieval.py, `itm_eval`) in per cent, from ranks (I,) of images' texts and (T,) the reverse."""
    named: dict[str, float] = {}
    for side, ranks in (("txt", image_ranks), ("img", text_ranks)):
        metrics = RetrievalMetrics.of(ranks)
        named |= {f"{side}_r1": metrics.r1, f"{side}_r5": metrics.r5, f"{side}_r10": metrics.r10}
        named[f"{side}_r_mean"] = (metrics.r1 + metrics.r5 + metrics.r10) / 3
    named["r_mean"] = (named["txt_r_mean"] + named["img_r_mean"]) / 2
    return named


def _rerank(reference: Reference, name: str, side: Side, k: int) -> tuple[IntArray, IntArray, IntArray]:
    """Compare match scores of the k best; ranks (Q,) as published, at best and at worst."""
    recorded = reference.look(name).numpy()
    k = min(k, side.dual.shape[1])
    chosen = _choose(side.dual, k, recorded > UNSCORED)
    query, item = chosen.nonzero()
    scores = np.full(side.dual.shape, UNSCORED, np.float32)
    scores[chosen] = side.match(query, item)
    same_pairs = recorded.shape == scores.shape and ((recorded > UNSCORED) == chosen).all()
    error = (
        relative_error(torch.from_numpy(scores[chosen]), torch.from_numpy(recorded[chosen])) if same_pairs else math.inf
    )
    reference.report(name, error)

    candidates = item.reshape(-1, k)
    candidate_scores = np.take_along_axis(scores, candidates, axis=1)
    right = np.take_along_axis(side.right, candidates, axis=1)
    published, best, worst = _unscored_ranks(chosen, side.right)
    after = [rank_candidates(candidate_scores, right, ranks) for ranks in (published, best, worst)]
    return after[0], after[1], after[2]


def _choose(scores: FloatArray, k: int, recorded: Mask) -> Mask:
    """The k best of each row; the recorded choice where it differs only among equal scores."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    ours = np.zeros(scores.shape, bool)
    np.put_along_axis(ours, best, True, axis=1)
    if recorded.shape != ours.shape or (recorded.sum(axis=1) != k).any():
        return ours
    least = np.take_along_axis(scores, best[:, -1:], axis=1)
    as_good = scores >= least - TOLERANCE * np.abs(least)
    return recorded if (as_good | ~recorded).all() else ours


def _unscored_ranks(chosen: Mask, right: Mask) -> tuple[IntArray, IntArray, IntArray]:
    """Ranks (Q,) of the first right item where none was chosen: all unscored pairs share one score.

    Sorting upwards and reversing, as published, puts the last of them first.
    """
    unscored = ~chosen
    after = np.cumsum(unscored[:, ::-1], axis=1)[:, ::-1] - unscored  # unscored items behind each item
    published = np.where(right & unscored, after, chosen.shape[1]).min(axis=1)
    first = 1 + chosen.sum(axis=1)
    return first + published, first, first + (unscored & ~right).sum(axis=1)


def _report_figures(reference: Reference, kind: str, attainable: list[dict[str, float]]) -> None:
    recorded = reference.metrics.get(kind, {})
    for name, value in attainable[0].items():
        if name not in recorded:
            raise AnotherFormError(f"retrieval_metrics.json has no {kind}.{name}")
        others = [figure[name] for figure in attainable[1:]]
        reference.report_figure(kind, name, _error(float(recorded[name]), value, others))


def _error(recorded: float, ours: float, bounds: list[float]) -> float:
    """Relative error; none where the recorded figure lies within what equal scores leave open."""
    scale = max(abs(recorded), 1.0)
    open_to_sorting = bounds and min(bounds) - TOLERANCE <= recorded <= max(bounds) + TOLERANCE
    return 0.0 if open_to_sorting else abs(ours - recorded) / scale


def _encode_texts(reference: Reference, model: AlignmentModel) -> TextFeatures:
    input_ids, attention_mask = reference.take("rerank.input_ids"), reference.take("rerank.attention_mask")
    with torch.inference_mode():
        tokens = model.student.text(input_ids, attention_mask)
        embedding = model.student.embed_texts(tokens, attention_mask)
    return TextFeatures(tokens.numpy(), attention_mask.numpy(), embedding.numpy())


def _match(
    encoder: TorchEncoder, images: ImageFeatures, texts: TextFeatures, image: IntArray, text: IntArray
) -> FloatArray:
    chosen = TextFeatures(texts.tokens[text], texts.attention_mask[text], texts.embedding[text])
    return encoder.match(images, chosen, image)


def _image_of_texts(reference: Reference) -> IntArray:
    belongs: Any = reference.metrics.get("images_to_texts")
    try:
        owner = {text: int(image) for image, texts in belongs.items() for text in texts}
        return np.array([owner[text] for text in range(len(owner))], np.int64)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AnotherFormError(f"retrieval_metrics.json: images_to_texts: {error!r}") from error
