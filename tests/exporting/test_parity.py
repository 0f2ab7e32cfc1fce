"""Parity is to fail: each test breaks an exported model in one way and expects to hear which graph it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cbalign.data.arrays import FloatArray, IntArray, PixelArray
from cbalign.data.source import open_source
from cbalign.data.text import Tokenizer
from cbalign.encoders import CodeAssignment, ImageFeatures, TextFeatures
from cbalign.errors import ParityError
from cbalign.experiment.load import load_experiment
from cbalign.exporting.parity import ParityReport, PrecisionReport, difference, distance
from cbalign.models.encoder import TorchEncoder
from cbalign.tasks.align.parity import AlignmentChecks, Expected
from cbalign.tasks.load import load_model


class Broken:
    """Does what the model does, but for one part."""

    def __init__(self, model: TorchEncoder) -> None:
        self.model = model
        self.preprocessing = model.preprocessing
        self.image_size, self.has_codebook, self.has_matcher = model.image_size, True, True
        self.images: Callable[[ImageFeatures], ImageFeatures] = lambda features: features
        self.texts: Callable[[TextFeatures], TextFeatures] = lambda features: features
        self.codes: Callable[[CodeAssignment], CodeAssignment] = lambda assignment: assignment
        self.scores: Callable[[FloatArray], FloatArray] = lambda scores: scores
        self.tokenizer = model.tokenizer

    def encode_images(self, pixels: PixelArray) -> ImageFeatures:
        return self.images(self.model.encode_images(pixels))

    def encode_texts(self, texts: Sequence[str]) -> TextFeatures:
        other = TorchEncoder(self.model.model, self.tokenizer, self.model.device)
        return self.texts(other.encode_texts(texts))

    def embed_images(self, pixels: PixelArray) -> FloatArray:
        return self.encode_images(pixels).embedding

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        return self.encode_texts(texts).embedding

    def match(self, images: ImageFeatures, texts: TextFeatures, image_index: IntArray) -> FloatArray:
        return self.scores(self.model.match(images, texts, image_index))

    def assign(self, embedding: FloatArray) -> CodeAssignment:
        return self.codes(self.model.assign(embedding))


@pytest.fixture(scope="module")
def encoder(run: Path) -> TorchEncoder:
    return load_model(run)


@pytest.fixture(scope="module")
def expected(run: Path, encoder: TorchEncoder) -> Expected:
    pairs = load_experiment(run / "resolved.yaml").experiment.data.validation
    assert pairs is not None
    return Expected.of(encoder, open_source(pairs, "pairs"))


def compare(expected: Expected, broken: Broken) -> PrecisionReport:
    return AlignmentChecks(expected, broken).run()


def test_a_model_is_at_par_with_itself(encoder: TorchEncoder, expected: Expected) -> None:
    report = compare(expected, Broken(encoder))
    assert report.passed
    report.require()
    document = json.loads(ParityReport("here", expected.results, (report,)).to_json())
    assert document["passed"] is True
    told = document["precisions"]["fp32"]
    assert {check["graph"] for check in told["checks"]} == {"image", "text", "codebook", "match", "whole"}
    assert {check["rung"] for check in told["checks"]} == {"torch", "independence", "inputs", "codes", "task"}
    assert document["torch"] == told["metrics"]
    assert {"1", "2", "7", "32"} == {
        check["quantity"].split()[-1]
        for check in told["checks"]
        if (check["graph"], check["rung"]) == ("image", "torch")
    }


def noisy(values: FloatArray) -> FloatArray:
    return values + np.float32(1e-3) * np.sign(values)


def beside_others(features: TextFeatures) -> TextFeatures:
    """Right for one text, wrong for batches: what is padded is not left out."""
    padding = 1 - features.attention_mask.mean(axis=1, keepdims=True)
    return replace(features, embedding=features.embedding + np.float32(0.01) * padding.astype(np.float32))


def one_batch_size(features: ImageFeatures) -> ImageFeatures:
    """Right for every batch but that of 7."""
    return replace(features, embedding=features.embedding[::-1]) if len(features.embedding) == 7 else features


BREAKS: dict[str, tuple[str, Callable[[Broken], None]]] = {
    "noise in the tokens of images": (
        "image",
        lambda b: setattr(b, "images", lambda f: replace(f, tokens=noisy(f.tokens))),
    ),
    "one batch size": ("image", lambda b: setattr(b, "images", one_batch_size)),
    "padding is read": ("text", lambda b: setattr(b, "texts", beside_others)),
    "not a number": ("text", lambda b: setattr(b, "texts", lambda f: replace(f, tokens=f.tokens * np.nan))),
    "other codes": ("codebook", lambda b: setattr(b, "codes", lambda a: replace(a, code=(a.code + 1) % 12))),
    "other probabilities": (
        "codebook",
        lambda b: setattr(b, "codes", lambda a: replace(a, probabilities=noisy(a.probabilities))),
    ),
    "the logit of the other class": ("match", lambda b: setattr(b, "scores", lambda s: -s)),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_found_and_named(encoder: TorchEncoder, expected: Expected, name: str) -> None:
    graph, break_it = BREAKS[name]
    broken = Broken(encoder)
    break_it(broken)
    if name == "not a number":
        broken.has_matcher = False  # scores of what is no number are no number either
    report = compare(expected, broken)
    assert not report.passed
    assert {check.graph for check in report.checks if not check.passed} - {"whole"} == {graph}
    with pytest.raises(ParityError, match=f"the {graph} graph does not compute|the whole graph"):
        report.require()


def test_another_tokenizer_is_found(encoder: TorchEncoder, expected: Expected, run: Path) -> None:
    broken = Broken(encoder)
    tokenizer = Tokenizer.load(run / "assets")
    broken.tokenizer = Tokenizer(tokenizer._vocabulary, replace(tokenizer.settings, closing_sep=True))
    report = compare(expected, broken)
    assert any("tokenization" in check.quantity and not check.passed for check in report.checks)


def test_the_limit_of_a_precision_is_its_own(encoder: TorchEncoder, expected: Expected) -> None:
    broken = Broken(encoder)
    broken.images = lambda f: replace(f, tokens=noisy(f.tokens))
    assert not AlignmentChecks(expected, broken, "fp32").run().passed
    assert AlignmentChecks(expected, broken, "fp16").run().passed


def test_distances_are_of_the_worst_item_and_relative_to_its_length() -> None:
    expected = np.array([[3.0, 4.0], [30.0, 40.0]], np.float32)
    assert distance(expected + np.array([[0, 0.5], [0, 0.5]], np.float32), expected) == pytest.approx(0.1)
    assert distance(expected[:1], expected) == np.inf
    assert distance(expected * np.nan, expected) == np.inf


def test_differences_are_relative_to_large_values_and_absolute_to_small_ones() -> None:
    expected = np.array([0.0, 100.0], np.float32)
    assert difference(expected + 1, expected) == pytest.approx(0.01)
    assert difference(expected / 200 + np.float32(0.25), expected / 200) == pytest.approx(0.25)
    assert difference(expected[:1], expected) == np.inf
    assert difference(np.array([np.nan, 100], np.float32), expected) == np.inf
