from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbalign.data.arrays import FloatArray, PixelArray
from cbalign.data.items import Pair
from cbalign.encoders import CodeAssignment, Encoder
from cbalign.errors import DataError, UsageError
from cbalign.evaluation.prompts import read_prompts
from cbalign.evaluation.result import EvaluationDocument, file_name
from cbalign.evaluation.sections.classification import ZeroShotEvaluation
from cbalign.evaluation.table import format_table
from cbalign.evaluation.zero_shot import ZeroShotEvaluator, average

from .conftest import NumberedSource, TableEncoder, unit_rows

CODES = 4


class LabelledSource(NumberedSource):
    """Image i has the label number `captions[i][0]`, a letter."""

    def item(self, index: int) -> Pair:
        return Pair(f"image-{index}", tuple("abcdefgh"[each] for each in self.captions[index]), index)


@dataclass
class WordEncoder(TableEncoder):
    """Sentences are looked up in a table; a code distribution is a softmax of the first dimensions."""

    sentences: dict[str, FloatArray] = field(default_factory=dict)

    def embed_texts(self, texts: list[str]) -> FloatArray:
        return np.stack([self.sentences[text] for text in texts])

    def embed_images(self, pixels: PixelArray) -> FloatArray:
        return self.images[pixels[:, 0, 0, 0].astype(int)]

    @property
    def has_codebook(self) -> bool:
        return True

    def assign(self, embedding: FloatArray) -> CodeAssignment:
        weights = np.exp(5 * embedding[:, :CODES])
        shares = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        return CodeAssignment(shares, shares.argmax(axis=1), embedding)


def measured(section: ZeroShotEvaluation, encoder: Encoder, labels: list[int]) -> list[dict[str, float]]:
    results = ZeroShotEvaluator(section).evaluate(encoder, LabelledSource([(each,) for each in labels]))
    return [result.flat() for result in results]


@given(st.integers(0, 1000), st.integers(1, 3), st.integers(2, 8))
def test_classification_equals_a_loop_over_classes_and_templates(seed: int, templates: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    names, forms = "abcdefgh"[:classes], [f"{{}} {i}" for i in range(templates)]
    labels = generator.integers(classes, size=9).tolist()
    sentences = {form.format(name): unit_rows(generator, 1, 6)[0] for name in names for form in forms}
    encoder = WordEncoder(unit_rows(generator, 9, 6), np.empty((0, 6)), sentences=sentences)
    section = ZeroShotEvaluation(
        kind="zero_shot", classes=tuple(names), templates=tuple(forms), protocols=("dual", "code"), batch_size=2
    )
    dual, code = measured(section, encoder, labels)

    def cosine(image: FloatArray, name: str) -> float:
        mean = [math.fsum(float(sentences[form.format(name)][d]) for form in forms) for d in range(6)]
        return math.fsum(float(a) * b for a, b in zip(image, mean, strict=True)) / math.hypot(*mean)

    def shares(vector: FloatArray) -> list[float]:
        weights = [math.exp(5 * float(each)) for each in vector[:CODES]]
        return [each / math.fsum(weights) for each in weights]

    def overlap(image: FloatArray, name: str) -> float:
        of_class = [shares(sentences[form.format(name)]) for form in forms]
        mean = [math.fsum(each[k] for each in of_class) / len(forms) for k in range(CODES)]
        return math.fsum(math.sqrt(p * q) for p, q in zip(shares(image), mean, strict=True))

    for found, protocol, score in ((dual, "dual", cosine), (code, "code", overlap)):
        right = []
        for image, label in zip(encoder.images, labels, strict=True):
            scores = [score(image, name) for name in names]
            right.append(sum(each >= scores[label] - 1e-7 for each in scores))  # the rank
        by_class = {c: [rank == 1 for rank, own in zip(right, labels, strict=True) if own == c] for c in set(labels)}
        assert found[f"zero_shot/{protocol}/accuracy"] == pytest.approx(100 * np.mean([r == 1 for r in right]))
        assert found.get(f"zero_shot/{protocol}/top5") == (
            pytest.approx(100 * np.mean([r <= 5 for r in right])) if classes > 5 else None
        )
        mean_per_class = 100 * np.mean([np.mean(each) for each in by_class.values()])
        assert found[f"zero_shot/{protocol}/mean_per_class"] == pytest.approx(mean_per_class)


def test_classes_of_unequal_numbers_of_sentences_are_averaged_one_by_one() -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(6, 2)
    assert average(vectors, [1, 3, 2]).tolist() == [[0, 1], [4, 5], [9, 10]]


@pytest.fixture
def encoder() -> WordEncoder:
    axes = np.eye(6, dtype=np.float32)
    return WordEncoder(axes, np.empty((0, 6)), sentences={f"a {name}": axes[i] for i, name in enumerate("abcd")})


def section(**settings: object) -> ZeroShotEvaluation:
    return ZeroShotEvaluation.model_validate({"kind": "zero_shot", "templates": ("a {}",), **settings})


def test_the_result_names_every_prediction_and_survives_its_document(encoder: WordEncoder) -> None:
    evaluator = ZeroShotEvaluator(section(bootstrap=20))
    (result,) = evaluator.evaluate(encoder, LabelledSource([(0,), (1,), (2,), (0,)]))
    assert result.predictions[:3] == ("a", "b", "c")
    assert [(each.label, each.items, each.accuracy) for each in result.classes] == [
        ("a", 2, 50.0),
        ("b", 1, 100.0),
        ("c", 1, 100.0),
    ]
    assert evaluator.predictions_file(result).splitlines()[1] == "image-1,b"
    assert file_name(result, 4) == "test-zero_shot-dual-step4.json"
    document = EvaluationDocument("runs/a", 4, "torch", (result,), {}, "2026-01-01T00:00:00+00:00")
    assert EvaluationDocument.from_json(document.to_json()).to_json() == document.to_json()
    assert "accuracy" in format_table([result])
    assert "zero_shot/dual/accuracy" not in format_table([result])


def test_a_collapsed_model_classifies_nothing_right() -> None:
    same = np.ones((4, 6), np.float32) / 6**0.5
    encoder = WordEncoder(same, same, sentences={f"a {name}": same[0] for name in "abc"})
    for found in measured(section(protocols=("dual", "code")), encoder, [0, 1, 2, 0]):
        assert next(iter(found.values())) == 0


def test_labels_that_are_no_class_are_refused_before_anything_is_encoded(encoder: WordEncoder) -> None:
    source = LabelledSource([(0,), (3,)], unreadable=frozenset({0, 1}))
    with pytest.raises(DataError, match="numbered: image-1 has the label 'd', which is no class") as caught:
        ZeroShotEvaluator(section(classes=("a", "b"))).evaluate(encoder, source)
    assert caught.value.remedy is not None
    assert "classes" in caught.value.remedy


def test_captions_are_no_labels_where_an_image_has_several(encoder: WordEncoder) -> None:
    with pytest.raises(DataError, match="image-1 has 2 captions, not one label"):
        ZeroShotEvaluator(section()).evaluate(encoder, LabelledSource([(0,), (1, 2)]))


def write(path: Path, rows: list[tuple[str, ...]]) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_table_holds_classes_names_and_templates(tmp_path: Path) -> None:
    rows = [
        ("class", "name", "template"),
        ("tabby_cat", "tabby", ""),
        ("dog", "", "a dog that barks, {}"),
        ("", "", "a photo of a {}."),
        ("", "", "a drawing of a {}."),
    ]
    table = read_prompts(write(tmp_path / "prompts.csv", rows))
    assert table.classes == ("tabby_cat", "dog")
    assert table.templates == ("a photo of a {}.", "a drawing of a {}.")
    assert table.names == {"tabby_cat": "tabby"}
    assert table.own["dog"] == ("a dog that barks, {}",)


def test_prompts_of_a_table_and_of_the_spec_are_put_together(tmp_path: Path) -> None:
    rows = [("class", "name", "template"), ("a", "b", ""), ("c", "", "c, a {}")]
    axes = np.eye(6, dtype=np.float32)
    sentences = {"a b": axes[0], "a c": axes[1], "c, a c": axes[2]}
    encoder = WordEncoder(axes, axes, sentences=sentences)
    prompts = str(write(tmp_path / "prompts.csv", rows))
    (found,) = measured(section(prompts=prompts), encoder, [0, 2, 2])
    assert found["zero_shot/dual/accuracy"] == 100


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([("label", "text"), ("a", "b")], DataError, r"prompts.csv: no column class or template in the header"),
        ([("class", "template"), ("", "a photo")], DataError, r"prompts.csv, line 2: the template 'a photo' has no {}"),
        ([("class", "template")], DataError, "neither classes nor templates"),
        ([("class", "template"), ("a", "a {}"), ("b", "")], UsageError, "class 'b' has no template"),
    ],
)
def test_incomplete_tables_are_refused(
    tmp_path: Path, rows: list[tuple[str, ...]], error: type[Exception], message: str, encoder: WordEncoder
) -> None:
    path = str(write(tmp_path / "prompts.csv", rows))
    only_table = ZeroShotEvaluation(kind="zero_shot", prompts=path)
    with pytest.raises(error, match=message):
        ZeroShotEvaluator(only_table).evaluate(encoder, LabelledSource([(0,), (1,)]))
