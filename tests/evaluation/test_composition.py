from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbalign.data.items import Foil
from cbalign.errors import UsageError
from cbalign.evaluation.composition import CompositionalEvaluator, judge_scores
from cbalign.evaluation.sections.composition import CompositionalEvaluation
from cbalign.evaluation.table import format_table

from .conftest import NumberedSource, TableEncoder, unit_rows


class FoilSource(NumberedSource):
    """Foil i has the captions 2i and 2i + 1, and image 2i, or with `both` also image 2i + 1."""

    both = True

    def item(self, index: int) -> Foil:  # type: ignore[override]
        numbers = (2 * index, 2 * index + 1)
        images = tuple(f"image-{number}" for number in numbers[: 1 + self.both])
        return Foil(f"foil-{index}", images, (str(numbers[0]), str(numbers[1])), f"kind-{index % 2}")

    def images(self, index: int):  # type: ignore[no-untyped-def]
        return tuple(
            super(FoilSource, self).images(number)[0] for number in range(2 * index, 2 * index + 1 + self.both)
        )


@given(st.integers(0, 1000), st.booleans(), st.integers(1, 7))
def test_scores_are_judged_as_winoground_and_sugarcrepe_do(seed: int, both: bool, batch_size: int) -> None:
    generator = np.random.default_rng(seed)
    encoder = TableEncoder(
        unit_rows(generator, 10, 3),
        unit_rows(generator, 10, 3),
        generator.standard_normal((10, 10)).astype(np.float32),
        (
            generator.dirichlet(np.ones(4), 10).astype(np.float32),
            generator.dirichlet(np.ones(4), 10).astype(np.float32),
        ),
    )
    source = FoilSource([()] * 5)
    source.both = both
    section = CompositionalEvaluation(
        kind="compositional", protocols=("dual", "match", "code"), bootstrap=0, batch_size=batch_size
    )
    results = CompositionalEvaluator(section).evaluate(encoder, source)
    p, q = encoder.distributions  # type: ignore[misc]
    tables = {
        "dual": encoder.images.astype(np.float64) @ encoder.texts.T.astype(np.float64),
        "match": encoder.matches,
        "code": np.sqrt(p.astype(np.float64)) @ np.sqrt(q.astype(np.float64)).T,
    }
    for result in results:
        s = tables[result.setting]
        text = [s[2 * i, 2 * i] > s[2 * i, 2 * i + 1] for i in range(5)]
        expected = {"accuracy": text}
        if both:
            text = [ok and s[2 * i + 1, 2 * i + 1] > s[2 * i + 1, 2 * i] for i, ok in enumerate(text)]
            image = [
                s[2 * i, 2 * i] > s[2 * i + 1, 2 * i] and s[2 * i + 1, 2 * i + 1] > s[2 * i, 2 * i + 1]
                for i in range(5)
            ]
            group = [a and b for a, b in zip(text, image, strict=True)]
            expected = {"group": group, "text": text, "image": image}
        found = {name.rpartition("/")[2]: value for name, value in result.flat().items()}
        head = next(iter(expected))
        for category in (0, 1):
            assert found.pop(f"{head}_kind-{category}") == pytest.approx(100 * np.mean(expected[head][category::2]))
        assert found == {name: pytest.approx(100 * np.mean(values)) for name, values in expected.items()}
        assert result.headlines() == {f"compositional/{result.setting}/{head}": found[head]}


def test_equal_scores_are_wrong_and_chance_is_as_stated() -> None:
    assert not any(values.any() for values in judge_scores(np.ones((3, 2, 2), np.float32)).values())
    random = judge_scores(np.random.default_rng(0).random((60_000, 2, 2)))
    assert [values.mean() for values in random.values()] == pytest.approx([1 / 6, 1 / 4, 1 / 4], abs=0.01)
    assert judge_scores(np.random.default_rng(0).random((60_000, 1, 2)))["accuracy"].mean() == pytest.approx(
        0.5, abs=0.01
    )


def test_protocols_of_one_evaluation_are_columns_of_one_table() -> None:
    generator = np.random.default_rng(0)
    encoder = TableEncoder(unit_rows(generator, 4, 3), unit_rows(generator, 4, 3), np.eye(4, dtype=np.float32))
    section = CompositionalEvaluation(kind="compositional", protocols=("dual", "match"), bootstrap=0)
    report = format_table(CompositionalEvaluator(section).evaluate(encoder, FoilSource([(), ()])))
    assert "dual %" in report
    assert "match %" in report
    assert report.count("group_kind-0") == 1
    assert report.startswith("test (numbered): compositional dual and match of 2 items, 4 px")


@pytest.mark.parametrize(("protocol", "part"), [("match", "a match head"), ("code", "a codebook")])
def test_a_protocol_whose_part_is_missing_is_refused(protocol: str, part: str) -> None:
    encoder = TableEncoder(np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32))
    section = CompositionalEvaluation.model_validate({"kind": "compositional", "protocols": (protocol,)})
    with pytest.raises(UsageError, match=f"{protocol} needs {part}"):
        CompositionalEvaluator(section).evaluate(encoder, FoilSource([()], unreadable=frozenset({0})))
