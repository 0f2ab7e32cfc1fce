"""Does the bundle compute what the trained model computes? Asked with real pictures and words.

Both sides are `Encoder`s: the PyTorch model with the run's tokenizer, and a session over the files as they will be
shipped. So what is compared includes the shipped tokenizer, preprocessing and padding.

For each graph: its outputs for batches of 1, 2, 7 and 32 and for texts of several lengths; whether an item alone gives
what it gives beside longer neighbours; and in the end whether retrieval finds the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cbalign.data.source import Entry, PairSource, gallery
from cbalign.encoders import Encoder, FloatArray, ImageFeatures, IntArray, TextFeatures
from cbalign.errors import DataError, ParityError
from cbalign.evaluation.features import load_images
from cbalign.evaluation.result import RetrievalResult, largest_difference
from cbalign.evaluation.retrieval import evaluate_retrieval
from cbalign.spec.evaluation import RetrievalEvaluation

BATCHES = (1, 2, 7, 32)
VECTORS = 1e-4  # greatest difference of embeddings, tokens and probabilities, relative to values above 1
SCORES = 1e-3  # the same for match scores
CODES = 0.995  # least share of vectors with the same code
RECALL = 0.3  # points
_TASK_IMAGES = 512
_TASK_CANDIDATES = 16


@dataclass(frozen=True)
class Check:
    """One comparison. `error` is to be at most `limit`; what it measures stands in `quantity`."""

    graph: str
    quantity: str
    error: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the error is a number within the limit."""
        return bool(self.error <= self.limit)


@dataclass(frozen=True)
class ParityReport:
    """All comparisons of one precision, and the retrieval results of both sides."""

    precision: str
    source: str
    checks: tuple[Check, ...]
    torch_results: tuple[RetrievalResult, ...]
    onnx_results: tuple[RetrievalResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every comparison holds."""
        return all(check.passed for check in self.checks)

    @property
    def worst(self) -> Check:
        """The comparison that comes nearest to its limit, or goes furthest beyond it."""
        return max(self.checks, key=lambda check: check.error / check.limit if check.error == check.error else np.inf)

    def to_json(self) -> str:
        """One JSON document."""
        checks = [{**asdict(c), "error": _json_number(c.error), "passed": c.passed} for c in self.checks]
        metrics = {
            side: {name: value for result in results for name, value in result.flat().items()}
            for side, results in (("torch", self.torch_results), ("onnx", self.onnx_results))
        }
        values = {
            "schema_version": 1,
            "passed": self.passed,
            "precision": self.precision,
            "source": self.source,
            "checks": checks,
            "metrics": metrics,
        }
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

    def require(self) -> None:
        """Refuse a bundle that failed.

        Raises:
            ParityError: names the graph and the quantity that is furthest off.
        """
        if self.passed:
            return
        failed = sum(not check.passed for check in self.checks)
        worst = self.worst
        raise ParityError(
            f"{self.precision}: the {worst.graph} graph does not compute what PyTorch computes: {worst.quantity} "
            f"differs by {worst.error:.3g}, at most {worst.limit:.3g} is allowed "
            f"({failed} of {len(self.checks)} comparisons failed)",
            remedy="Try another export.opset, or report it: parity.json has every comparison.",
        )


@dataclass(frozen=True)
class Sample:
    """Real inputs: prepared images (B, H, W, 3) and raw texts, among them a short and a very long one."""

    pixels: NDArray[np.uint8]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, source: PairSource, encoder: Encoder) -> Sample:
        """The first readable images of a source, and texts of all lengths that it has."""
        pairs = gallery(source)
        pixels = []
        for entry in pairs.image_entries:
            try:
                pixels.append(load_images(encoder, source, np.array([entry]))[0])
            except DataError:
                continue
            if len(pixels) == max(BATCHES):
                break
        if not pixels:
            raise DataError(f"{source.name}: no image can be read to compare the exported graphs with")
        by_length = sorted(dict.fromkeys(pairs.captions[:2000]), key=len)
        chosen = [by_length[i] for i in np.linspace(0, len(by_length) - 1, max(BATCHES) - 2).astype(int)]
        long = " ".join(pairs.captions[:200])
        return cls(np.stack(pixels), (by_length[0], long, *chosen))


def compare(
    reference: Encoder,
    exported: Encoder,
    source: PairSource,
    *,
    precision: str = "fp32",
    report: Callable[[str], None] = lambda stage: None,
) -> ParityReport:
    """Compare an exported model with the trained one.

    Args:
        reference: the trained model.
        exported: the bundle.
        source: real images and captions.
        precision: for the report.
        report: told which part is being compared.

    Raises:
        DataError: the source has no readable image.
    """
    sample = Sample.of(source, reference)
    checks: list[Check] = []
    report("image")
    images = _compare_images(reference, exported, sample, checks)
    report("text")
    texts = _compare_texts(reference, exported, sample, checks)
    if reference.has_codebook and exported.has_codebook:
        report("codebook")
        _compare_codes(reference, exported, np.concatenate([images.embedding, texts.embedding]), checks)
    if reference.has_matcher and exported.has_matcher:
        report("match")
        _compare_matches(reference, exported, images, texts, checks)
    report("retrieval")
    both = _evaluate(reference, exported, source)
    name, gap = largest_difference(*both)
    queries = min(both[0][0].images, both[0][0].texts)
    # One query that crosses a rank is no error of the export, and in a small gallery it is more than 0.3 points.
    checks.append(Check("whole", f"{name} in points", gap, max(RECALL, 100 / queries + 1e-9)))
    return ParityReport(precision, source.name, tuple(checks), *both)


def _compare_images(reference: Encoder, exported: Encoder, sample: Sample, checks: list[Check]) -> ImageFeatures:
    whole = reference.encode_images(sample.pixels)
    for size in _sizes(len(sample.pixels)):
        found = exported.encode_images(sample.pixels[:size])
        for name in ("tokens", "embedding"):
            error = difference(getattr(found, name), getattr(whole, name)[:size])
            checks.append(Check("image", f"{name} of a batch of {size}", error, VECTORS))
    return whole


def _compare_texts(reference: Encoder, exported: Encoder, sample: Sample, checks: list[Check]) -> TextFeatures:
    whole = reference.encode_texts(sample.texts)
    for size in _sizes(len(sample.texts)):
        # The first text is the shortest, the second the longest: alone, then beside the longest, then among all.
        found = exported.encode_texts(sample.texts[:size])
        length = found.tokens.shape[1]
        mask = whole.attention_mask[:size, :length]
        same = found.attention_mask.shape == mask.shape and bool((found.attention_mask == mask).all())
        checks.append(Check("text", f"tokenization of a batch of {size}", 0.0 if same else np.inf, 0.5))
        if same:
            real = mask.astype(bool)
            error = difference(found.tokens[real], whole.tokens[:size, :length][real])
            checks.append(Check("text", f"tokens of a batch of {size}, padded to {length}", error, VECTORS))
        error = difference(found.embedding, whole.embedding[:size])
        checks.append(Check("text", f"embedding of a batch of {size}, padded to {length}", error, VECTORS))
    return whole


def _compare_codes(reference: Encoder, exported: Encoder, vectors: FloatArray, checks: list[Check]) -> None:
    expected = reference.assign(vectors)
    for size in _sizes(len(vectors)):
        found = exported.assign(vectors[:size])
        error = difference(found.probabilities, expected.probabilities[:size])
        checks.append(Check("codebook", f"probabilities of a batch of {size}", error, VECTORS))
    found = exported.assign(vectors)
    same = found.code == expected.code
    checks.append(Check("codebook", "share of vectors with another code", 1 - float(same.mean()), 1 - CODES))
    error = difference(found.prototype[same], expected.prototype[same])
    checks.append(Check("codebook", "prototype where the code is the same", error, VECTORS))


def _compare_matches(
    reference: Encoder, exported: Encoder, images: ImageFeatures, texts: TextFeatures, checks: list[Check]
) -> None:
    count, generator = len(images.tokens), np.random.default_rng(0)
    index = generator.integers(count, size=len(texts.tokens))
    expected = reference.match(images, texts, index)
    for size in _sizes(len(index)):
        lengths = texts.attention_mask[:size].sum(axis=1)
        found = exported.match(images, _first(texts, size, int(lengths.max())), index[:size])
        error = difference(found, expected[:size])
        checks.append(Check("match", f"score of {size} texts with {count} images", error, SCORES))
    found = exported.match(_rows(images, index[:1]), texts, np.zeros_like(index))
    error = difference(found, reference.match(images, texts, np.full_like(index, index[0])))
    checks.append(Check("match", f"score of {len(index)} texts with one image", error, SCORES))


def _evaluate(
    reference: Encoder, exported: Encoder, source: PairSource
) -> tuple[tuple[RetrievalResult, ...], tuple[RetrievalResult, ...]]:
    some = FirstEntries(source, _TASK_IMAGES)
    section = RetrievalEvaluation(
        protocols=(
            "dual",
            *(("rerank",) if reference.has_matcher and exported.has_matcher else ()),
            *(("code",) if reference.has_codebook and exported.has_codebook else ()),
        ),
        top_k=_TASK_CANDIDATES,
        bootstrap=0,
    )
    # Unreadable images were judged when the run was evaluated; here they only have to be the same on both sides.
    return (
        evaluate_retrieval(reference, some, section, corrupt_limit=1.0),
        evaluate_retrieval(exported, some, section, corrupt_limit=1.0),
    )


class FirstEntries:
    """The beginning of a source; keeps `PairSource`.

    Args:
        source: the whole.
        limit: number of entries.
    """

    def __init__(self, source: PairSource, limit: int) -> None:
        self._source = source
        self._length = min(limit, len(source))
        self.name = source.name if self._length == len(source) else f"{source.name}, first {limit} entries"

    def __len__(self) -> int:
        return self._length

    def entry(self, index: int) -> Entry:
        """What entry `index` says."""
        return self._source.entry(index)

    def load(self, index: int) -> Image.Image:
        """The image of entry `index`."""
        return self._source.load(index)

    def describe(self) -> str:
        """One line for logs."""
        return self.name


def difference(found: FloatArray, expected: FloatArray) -> float:
    """Largest absolute difference, relative to the largest expected value where that is above 1; infinite if unlike."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    if not expected.size:
        return 0.0
    return float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))


def _sizes(available: int) -> Sequence[int]:
    return sorted({min(size, available) for size in BATCHES})


def _first(texts: TextFeatures, size: int, length: int) -> TextFeatures:
    return TextFeatures(texts.tokens[:size, :length], texts.attention_mask[:size, :length], texts.embedding[:size])


def _rows(images: ImageFeatures, index: IntArray) -> ImageFeatures:
    return ImageFeatures(images.tokens[index], images.embedding[index])


def _json_number(value: float) -> float | str:
    return value if np.isfinite(value) else str(value)
