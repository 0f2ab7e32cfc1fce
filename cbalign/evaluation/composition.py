"""Compositional foils: captions and images that differ in a detail only, for any `Encoder`.

With the score s(i, t) of image i and caption t, where caption i describes image i:

- one image (SugarCrepe, Hsieh et al., NeurIPS 2023): right if s(0, 0) > s(0, 1).
- two images (Winoground, Thrush et al., CVPR 2022): text is right if s(0, 0) > s(0, 1) and s(1, 1) > s(1, 0), image if
  s(0, 0) > s(1, 0) and s(1, 1) > s(0, 1), group if both are.

Equal scores count against the model. By chance, one image is right in 1/2 of all cases, text and image in 1/4, group in
1/6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import FloatArray, PixelArray
from cbalign.data.items import Foil
from cbalign.data.progress import ProgressCallback, no_progress
from cbalign.data.source import Source
from cbalign.encoders import Encoder, ImageFeatures, TextFeatures, require_encoder
from cbalign.errors import UsageError
from cbalign.evaluation.base import Result
from cbalign.evaluation.items import ItemResults, hash_items, measure_items, require_finite
from cbalign.evaluation.process_group import SINGLE_PROCESS, ProcessGroup
from cbalign.evaluation.scored import ClassAccuracy, ScoredResult, interval_of
from cbalign.evaluation.sections.composition import CompositionalEvaluation, FoilProtocol

_Bools = NDArray[np.bool_]


class CompositionalEvaluator:
    """Implements `cbalign.evaluation.evaluator.Evaluator` for encoders of images and texts."""

    def __init__(self, section: CompositionalEvaluation) -> None:
        self._section = section

    def evaluate(
        self,
        model: Encoder,
        source: Source[Foil],
        *,
        corrupt_limit: float = 0.0,
        report: ProgressCallback = no_progress,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> tuple[ScoredResult, ...]:
        """Score both captions with each image of every item; see `Evaluator.evaluate`.

        Raises:
            UsageError: the model lacks the part that a protocol needs.
            DataError: too many images are unreadable.
            DivergenceError: the model returns values that are not finite.
        """
        encoder, section = require_encoder(model), self._section
        _check_parts(encoder, section)

        def judge(pixels: PixelArray, items: Sequence[Foil]) -> Sequence[FloatArray]:
            scores = score_foils(encoder, pixels, [item.captions for item in items], section.protocols)
            require_finite(scores, "scores")
            return list(scores)

        found = measure_items(
            source,
            judge,
            preprocessing=encoder.preprocessing,
            batch_size=section.batch_size,
            corrupt_limit=corrupt_limit,
            report=report,
            process_group=process_group,
        )
        return tuple(self._result(number, encoder, source, found) for number in range(len(section.protocols)))

    def _result(
        self, number: int, encoder: Encoder, source: Source[Foil], found: ItemResults[FloatArray]
    ) -> ScoredResult:
        protocol, items = self._section.protocols[number], [source.item(position) for position in found.positions]
        judged = judge_scores(np.stack(found.findings)[:, number])
        right = next(iter(judged.values()))
        classes = _by_category([item.category for item in items], right)
        metrics = {name: 100 * float(values.mean()) for name, values in judged.items()}
        if len(classes) > 1:
            metrics |= {f"{next(iter(judged))}_{each.label}": each.accuracy for each in classes}
        scores = right.astype(np.float64)
        return ScoredResult(
            protocol="compositional",
            setting=protocol,
            split=self._section.on,
            source=source.name,
            gallery=hash_items("\t".join((*item.image_keys, *item.captions)) for item in items),
            items=len(items),
            skipped=found.skipped,
            image_size=encoder.image_size,
            ids=tuple(item.id for item in items),
            predictions=tuple("right" if one else "wrong" for one in right),
            scores=scores,
            metrics={f"compositional/{protocol}/{name}": value for name, value in metrics.items()},
            interval=interval_of(scores, self._section.bootstrap),
        )

    def predictions_file(self, result: Result) -> None:
        """Return None: foils are compared, nothing is predicted."""


def judge_scores(scores: FloatArray) -> dict[str, _Bools]:
    """Judge scores (Q, n, 2) of n images and two captions: (Q,) by name, the headline first."""
    text = scores[:, 0, 0] > scores[:, 0, 1]
    if scores.shape[1] == 1:
        return {"accuracy": text}
    text = text & (scores[:, 1, 1] > scores[:, 1, 0])
    image = (scores[:, 0, 0] > scores[:, 1, 0]) & (scores[:, 1, 1] > scores[:, 0, 1])
    return {"group": text & image, "text": text, "image": image}


def score_foils(
    encoder: Encoder, pixels: PixelArray, captions: Sequence[tuple[str, str]], protocols: Sequence[FoilProtocol]
) -> FloatArray:
    """Score the captions of B items with each of their n images: (B, P, n, 2) for P protocols.

    Args:
        encoder: the model.
        pixels: (B, n, H, W, 3) prepared images, or their features (B, n, N, D).
        captions: B pairs of texts.
        protocols: P names.
    """
    items, n = pixels.shape[:2]
    images = encoder.encode_images(pixels.reshape(items * n, *pixels.shape[2:]))
    texts = encoder.encode_texts([text for both in captions for text in both])
    scorers = {"dual": _by_embedding, "match": _by_match, "code": _by_code}
    return np.stack([scorers[protocol](encoder, images, texts, items) for protocol in protocols], axis=1)


def _by_embedding(encoder: Encoder, images: ImageFeatures, texts: TextFeatures, items: int) -> FloatArray:
    return _products(images.embedding, texts.embedding, items)


def _by_code(encoder: Encoder, images: ImageFeatures, texts: TextFeatures, items: int) -> FloatArray:
    roots = [np.sqrt(encoder.assign(each.embedding).probabilities) for each in (images, texts)]
    return _products(roots[0], roots[1], items)


def _products(images: FloatArray, texts: FloatArray, items: int) -> FloatArray:
    """Inner products within items, (B, n, 2), summed in float64 and rounded so that equal vectors tie."""
    wide = [each.astype(np.float64).reshape(items, -1, each.shape[1]) for each in (images, texts)]
    found: FloatArray = np.einsum("bnd,btd->bnt", *wide).astype(np.float32)
    return found


def _by_match(encoder: Encoder, images: ImageFeatures, texts: TextFeatures, items: int) -> FloatArray:
    n = len(images.embedding) // items
    text = np.arange(2 * items)
    scores = [encoder.match(images, texts, text // 2 * n + image) for image in range(n)]  # (2B,) each
    return np.stack(scores, axis=1).reshape(items, 2, n).transpose(0, 2, 1)


def _by_category(categories: Sequence[str], right: _Bools) -> tuple[ClassAccuracy, ...]:
    named = np.array(categories)
    return tuple(
        ClassAccuracy(str(name), int((named == name).sum()), 100 * float(right[named == name].mean()))
        for name in np.unique(named)
    )


def _check_parts(encoder: Encoder, section: CompositionalEvaluation) -> None:
    for protocol, has, part in (
        ("match", encoder.has_matcher, "a match head"),
        ("code", encoder.has_codebook, "a codebook"),
    ):
        if protocol in section.protocols and not has:
            raise UsageError(
                f"{protocol} needs {part}, which this model lacks", remedy=f"Remove {protocol} from the protocols."
            )
