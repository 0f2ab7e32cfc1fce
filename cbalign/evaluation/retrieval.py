"""Image-text retrieval by the protocols `dual`, `rerank`, `code` and `dual+code`, for any `Encoder`.

- dual: cosine of the joint embeddings.
- rerank: the top k of `dual` in the order of their match scores; all others keep their order behind them (ALBEF leaves
  them at one score of -100, where the order is an artefact of sorting).
- code: the Bhattacharyya coefficient Σ_k √(p_k(image) p_k(text)) of the two prototype distributions; it measures
  whether the codebook itself aligns the modalities.
- dual+code: the sum of both.

An image with several captions is a query whose best-ranked caption counts; each caption is a query for its image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cbalign.data.arrays import FloatArray
from cbalign.data.items import Pair
from cbalign.data.progress import ProgressCallback, no_progress
from cbalign.data.source import Gallery, Source, gallery
from cbalign.encoders import Encoder, require_encoder
from cbalign.errors import UsageError
from cbalign.evaluation.base import Result
from cbalign.evaluation.calibration import Calibration
from cbalign.evaluation.codes import CodebookUse, assign_all
from cbalign.evaluation.diagnostics import DIRECTIONS, Diagnostics, Ties, texts_by_texts
from cbalign.evaluation.features import EncodedGallery, encode_gallery
from cbalign.evaluation.geometry import Geometry
from cbalign.evaluation.information import CodeInformation
from cbalign.evaluation.items import hash_items
from cbalign.evaluation.metrics import DirectionResult
from cbalign.evaluation.process_group import SINGLE_PROCESS, ProcessGroup
from cbalign.evaluation.ranking import GalleryRanking, Relevance, rank, rank_candidates, tied_candidates
from cbalign.evaluation.rerank import score_pairs
from cbalign.evaluation.result import RetrievalResult
from cbalign.evaluation.sections.evaluations import RetrievalEvaluation, RetrievalProtocol


@dataclass(frozen=True)
class _Findings:
    """What a protocol shows besides ranks."""

    use: CodebookUse | None = None
    information: CodeInformation | None = None
    calibration: Mapping[str, Calibration] = field(default_factory=dict)


@dataclass(frozen=True)
class _BothWays:
    image_to_text: GalleryRanking
    text_to_image: GalleryRanking

    @classmethod
    def ranked(cls, images: FloatArray, texts: FloatArray, pairs: Gallery, candidates: int = 0) -> _BothWays:
        """By inner product of vectors (I, d) and (T, d)."""
        owner = pairs.caption_image
        return cls(
            rank(images, texts, Relevance.captions_of_images(owner, len(images)), candidates),
            rank(texts, images, Relevance.image_of_captions(owner, len(images)), candidates),
        )


class RetrievalEvaluator:
    """Implements `cbalign.evaluation.evaluator.Evaluator` for encoders of images and texts."""

    def __init__(self, section: RetrievalEvaluation) -> None:
        self._section = section

    def evaluate(
        self,
        model: Encoder,
        source: Source[Pair],
        *,
        corrupt_limit: float = 0.0,
        report: ProgressCallback = no_progress,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> tuple[RetrievalResult, ...]:
        """Measure retrieval by each protocol of the section; see `Evaluator.evaluate`.

        Raises:
            UsageError: the model lacks the part that a protocol needs.
            DataError: too many images are unreadable.
            DivergenceError: the model returns values that are not finite.
        """
        encoder, section = require_encoder(model), self._section
        _check_parts(encoder, section)
        rerank = "rerank" in section.protocols
        encoded = encode_gallery(
            encoder,
            source,
            gallery(source),
            batch_size=section.batch_size,
            corrupt_limit=corrupt_limit,
            keep_text_tokens=rerank,
            report=report,
            process_group=process_group,
        )
        candidates = section.top_k if rerank else 0
        dual = _BothWays.ranked(encoded.images, encoded.texts, encoded.gallery, candidates)
        results = []
        for protocol in section.protocols:
            found, more = dual, _Findings()
            if protocol == "rerank":
                found, more = _reranked(encoder, source, encoded, dual, section.batch_size, report, process_group)
            elif protocol == "code":
                found, more = _by_code(encoder, encoded, section.batch_size)
            elif protocol == "dual+code":
                found = _by_both(encoder, encoded, section.batch_size)
            results.append(self._result(protocol, encoder, source, encoded, found, more))
        return tuple(results)

    def _result(
        self,
        protocol: RetrievalProtocol,
        encoder: Encoder,
        source: Source[Pair],
        encoded: EncodedGallery,
        found: _BothWays,
        more: _Findings,
    ) -> RetrievalResult:
        images, texts, section = len(encoded.images), len(encoded.texts), self._section
        return RetrievalResult(
            protocol=protocol,
            split=section.on,
            source=source.name,
            gallery=hash_items(_describe(source, encoded.gallery)),
            images=images,
            texts=texts,
            skipped_images=encoded.skipped,
            image_size=encoder.image_size,
            top_k=min(section.top_k, max(images, texts)) if protocol == "rerank" else None,
            image_to_text=DirectionResult.of(found.image_to_text.ranks, section.bootstrap),
            text_to_image=DirectionResult.of(found.text_to_image.ranks, section.bootstrap),
            codebook=more.use,
            zero_shot=section.zero_shot,
            diagnostics=self._diagnostics(protocol, encoded, found, more),
        )

    def _diagnostics(
        self,
        protocol: RetrievalProtocol,
        encoded: EncodedGallery,
        found: _BothWays,
        more: _Findings,
    ) -> Diagnostics:
        """What belongs to no protocol goes with `dual`, or else with the first."""
        section, owner = self._section, encoded.gallery.caption_image
        ties = {direction: Ties.of(getattr(found, direction)) for direction in DIRECTIONS}
        if protocol != ("dual" if "dual" in section.protocols else section.protocols[0]):
            return Diagnostics(ties, codes=more.information, calibration=more.calibration)
        return Diagnostics(
            ties,
            Geometry.of(encoded.images, encoded.texts, owner),
            texts_by_texts(encoded.texts, owner, section.bootstrap),
            more.information,
            more.calibration,
        )

    def predictions_file(self, result: Result) -> None:
        """Return None: retrieval ranks items and predicts nothing."""


def _reranked(
    encoder: Encoder,
    source: Source[Pair],
    encoded: EncodedGallery,
    dual: _BothWays,
    batch_size: int,
    report: ProgressCallback,
    process_group: ProcessGroup,
) -> tuple[_BothWays, _Findings]:
    texts_of_images, images_of_texts = dual.image_to_text.candidates, dual.text_to_image.candidates
    scores = score_pairs(
        encoder,
        source,
        encoded,
        texts_of_images,
        images_of_texts,
        batch_size=batch_size,
        report=report,
        process_group=process_group,
    )
    owner = encoded.gallery.caption_image
    image, text = np.arange(len(encoded.images))[:, None], np.arange(len(encoded.texts))[:, None]
    scores_of = {
        "image_to_text": scores.of(image, texts_of_images),
        "text_to_image": scores.of(images_of_texts, text),
    }
    right = {"image_to_text": owner[texts_of_images] == image, "text_to_image": images_of_texts == owner[:, None]}
    found = {way: _by_match(scores_of[way], right[way], getattr(dual, way)) for way in DIRECTIONS}
    calibration = {way: Calibration.of(scores_of[way], right[way]) for way in DIRECTIONS}
    return _BothWays(**found), _Findings(calibration=calibration)


def _by_match(scores: FloatArray, right: NDArray[np.bool_], dual: GalleryRanking) -> GalleryRanking:
    """Put the candidates of `dual` in the order of their match scores (Q, k)."""
    ranks = rank_candidates(scores, right, dual.ranks)
    return replace(dual, ranks=ranks, tied=tied_candidates(scores, right, dual.tied))


def _by_code(encoder: Encoder, encoded: EncodedGallery, batch_size: int) -> tuple[_BothWays, _Findings]:
    images = assign_all(encoder, encoded.images, batch_size)
    texts = assign_all(encoder, encoded.texts, batch_size)
    owner = encoded.gallery.caption_image
    found = _BothWays.ranked(np.sqrt(images.probabilities), np.sqrt(texts.probabilities), encoded.gallery)
    return found, _Findings(CodebookUse.of(images, texts, owner), CodeInformation.of(images.code[owner], texts.code))


def _by_both(encoder: Encoder, encoded: EncodedGallery, batch_size: int) -> _BothWays:
    """Rank by the sum of cosine and overlap of codes, which is an inner product of joined vectors (B, d + K)."""
    images, texts = (
        np.hstack([embeddings, np.sqrt(assign_all(encoder, embeddings, batch_size).probabilities)])
        for embeddings in (encoded.images, encoded.texts)
    )
    return _BothWays.ranked(images, texts, encoded.gallery)


def _check_parts(encoder: Encoder, section: RetrievalEvaluation) -> None:
    if "rerank" in section.protocols and not encoder.has_matcher:
        raise UsageError(
            "rerank needs a match head, which this model lacks", remedy="Remove rerank from the protocols."
        )
    by_codes = [protocol for protocol in section.protocols if protocol in ("code", "dual+code")]
    if by_codes and not encoder.has_codebook:
        raise UsageError(
            f"{by_codes[0]} needs a codebook, which this model lacks",
            remedy=f"Remove {' and '.join(by_codes)} from the protocols.",
        )


def _describe(source: Source[Pair], pairs: Gallery) -> Iterator[str]:
    """Yield the names of the images and the captions, in their order, as the fingerprint reads them."""
    for entry in pairs.image_entries:
        yield source.item(int(entry)).image_key
    for image, caption in zip(pairs.caption_image, pairs.captions):
        yield f"{image} {caption}"
