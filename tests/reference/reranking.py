"""Retrieval as it is evaluated: dual scores, match scores of the best k, and recall by both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cbalign.encoders import ImageFeatures, TextFeatures
from cbalign.models.alignment import AlignmentModel
from cbalign.models.encoder import TorchEncoder
from tests.reference.folder import TOLERANCE, AnotherFormError, Reference, relative_error
from tests.reference.pretraining import prepare

UNSCORED = -100.0  # ALBEF's score of pairs outside the best k
CUTOFFS = (1, 5, 10)
Order = NDArray[np.int64]


def check_reranking(reference: Reference) -> None:
    """`rerank.*` and the recall figures of retrieval_metrics.json."""
    _, model = prepare(reference, reference.weights("pretrain"), 0.0)
    encoder = TorchEncoder(model, tokenizer=None, device=torch.device("cpu"))
    images = encoder.encode_images(reference.pixels("rerank.images").permute(0, 2, 3, 1).contiguous().numpy())
    texts = _encode_texts(model, reference.take("rerank.input_ids"), reference.take("rerank.attention_mask"))
    k = int(reference.take("rerank.k"))

    dual = torch.from_numpy(images.embedding @ texts.embedding.T)  # (I, T)
    reference.compare("rerank.dual_scores", dual)
    image_to_text = _rerank(reference, "rerank.itm_i2t", encoder, images, texts, dual, k, transposed=False)
    text_to_image = _rerank(reference, "rerank.itm_t2i", encoder, images, texts, dual, k, transposed=True)

    texts_of_image = _texts_of_image(reference.metrics)
    for kind, scores in (("dual", (dual, dual.T)), ("itm", (image_to_text, text_to_image))):
        for name, recorded in reference.metrics[kind].items():
            attainable = [recall(*scores, texts_of_image, ties)[name] for ties in ("published", "best", "worst")]
            reference.report(f"retrieval_metrics.{kind}.{name}", _error(recorded, *attainable))


def _encode_texts(model: AlignmentModel, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
    with torch.inference_mode():
        tokens = model.student.text(input_ids, attention_mask)
        embedding = model.student.embed_texts(tokens, attention_mask)
    return TextFeatures(tokens.numpy(), attention_mask.numpy(), embedding.numpy())


def _rerank(
    reference: Reference,
    name: str,
    encoder: TorchEncoder,
    images: ImageFeatures,
    texts: TextFeatures,
    dual: Tensor,
    k: int,
    *,
    transposed: bool,
) -> Tensor:
    """Compare and return match scores (queries, candidates), `UNSCORED` outside the k best by dual score."""
    recorded = reference.look(name)
    ranked_by = dual.T if transposed else dual
    chosen = _choose(ranked_by, k, recorded > UNSCORED)
    query, candidate = chosen.nonzero(as_tuple=True)
    image, text = (candidate, query) if transposed else (query, candidate)
    paired = TextFeatures(texts.tokens[text], texts.attention_mask[text], texts.embedding[text])
    scores = torch.full_like(ranked_by, UNSCORED)
    scores[chosen] = torch.from_numpy(encoder.match(images, paired, image.numpy()))
    same_pairs = recorded.shape == scores.shape and bool(((recorded > UNSCORED) == chosen).all())
    reference.report(name, relative_error(scores[chosen], recorded[chosen]) if same_pairs else math.inf)
    return scores


def _choose(scores: Tensor, k: int, recorded: Tensor) -> Tensor:
    """The k best of each row as a mask; the recorded choice where it differs only among equal scores."""
    k = min(k, scores.shape[1])
    best = scores.topk(k, dim=1)
    ours = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, best.indices, True)
    if recorded.shape != ours.shape or not bool((recorded.sum(dim=1) == k).all()):
        return ours
    least = best.values[:, -1:]
    as_good = scores >= least - TOLERANCE * least.abs()
    return recorded if bool((as_good | ~recorded).all()) else ours


def recall(
    image_to_text: Tensor, text_to_image: Tensor, texts_of_image: Sequence[Sequence[int]], ties: str
) -> dict[str, float]:
    """ALBEF's figures (Retrieval.py, `itm_eval`), in per cent.

    Args:
        image_to_text: scores (I, T).
        text_to_image: scores (T, I).
        texts_of_image: the texts that belong to each image.
        ties: what comes first among equal scores: what sorting leaves (`published`: the later), or as `best` or
            `worst` for the figure. Only pairs that were not scored are equal.
    """
    image_of_text = {text: image for image, texts in enumerate(texts_of_image) for text in texts}
    image_ranks = [
        min(_rank(row, text, set(texts), ties) for text in texts) for row, texts in zip(image_to_text, texts_of_image)
    ]
    text_ranks = [_rank(row, image_of_text[t], {image_of_text[t]}, ties) for t, row in enumerate(text_to_image)]
    figures: dict[str, float] = {}
    for side, ranks in (("txt", image_ranks), ("img", text_ranks)):
        values = [100 * float(np.mean([rank < cutoff for rank in ranks])) for cutoff in CUTOFFS]
        figures |= {f"{side}_r{cutoff}": value for cutoff, value in zip(CUTOFFS, values)}
        figures[f"{side}_r_mean"] = sum(values) / len(values)
    figures["r_mean"] = (figures["txt_r_mean"] + figures["img_r_mean"]) / 2
    return figures


def _rank(row: Tensor, wanted: int, right: set[int], ties: str) -> int:
    """How many candidates come before the wanted one."""
    better = int((row > row[wanted]).sum())
    equal = {int(i) for i in (row == row[wanted]).nonzero()} - {wanted}
    if ties == "published":
        return better + sum(i > wanted for i in equal)
    # The best of several right candidates counts, so the worst order puts all wrong ones before them.
    return better + (len(equal - right) if ties == "worst" else 0)


def _error(recorded: float, published: float, best: float, worst: float) -> float:
    """Relative error; none where the recorded figure lies within what equal scores leave open."""
    exact = abs(published - recorded) / max(abs(recorded), 1.0)
    if exact <= TOLERANCE or best == worst:
        return exact
    slack = TOLERANCE * max(abs(recorded), 1.0)
    return 0.0 if worst - slack <= recorded <= best + slack else exact


def _texts_of_image(metrics: Mapping[str, Mapping[str, list[int]]]) -> list[list[int]]:
    try:
        belongs = metrics["images_to_texts"]
        return [list(belongs[str(i)]) for i in range(len(belongs))]
    except (KeyError, TypeError) as error:
        raise AnotherFormError(f"retrieval_metrics.json: images_to_texts lacks {error}") from error
