import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cbalign.objectives.codebook_health import codebook_health
from tests.objectives import equations
from tests.objectives.tensors import close, normal, seeds


@given(batch=st.integers(1, 8), codes=st.integers(1, 9), scale=st.floats(0.1, 30), seed=seeds)
def test_health_is_the_equations(batch, codes, scale, seed):
    image, text = (normal(batch, codes, seed=seed + i, scale=scale) for i in range(2))
    health = codebook_health(image, text)
    for logits, perplexity, entropy in (
        (image.tolist(), health.image_perplexity, health.image_entropy),
        (text.tolist(), health.text_perplexity, health.text_entropy),
    ):
        assert close(perplexity, equations.perplexity(equations.nearest(logits)))
        assert close(entropy, sum(equations.entropy(equations.softmax(row)) for row in logits) / batch)
    pairs = zip(equations.nearest(image.tolist()), equations.nearest(text.tolist()), strict=True)
    assert close(health.agreement, sum(a == b for a, b in pairs) / batch)


def test_a_collapsed_codebook_shows():
    logits = torch.zeros(6, 10)
    logits[:, 3] = 50
    health = codebook_health(logits, logits)
    assert health.image_perplexity.item() == pytest.approx(1)
    assert health.image_entropy.item() == pytest.approx(0, abs=1e-6)


def test_an_evenly_used_codebook_shows():
    health = codebook_health(50 * torch.eye(8), torch.zeros(8, 8))
    assert health.image_perplexity.item() == pytest.approx(8, rel=1e-5)
    assert health.text_entropy.item() == pytest.approx(math.log(8), rel=1e-5)
