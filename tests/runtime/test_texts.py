from __future__ import annotations

import pytest

from cbalign.data.text import TextSettings, Tokenizer
from cbalign.errors import UsageError
from cbalign.runtime.texts import check_text


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["a red fox", "a blue car"], 60, TextSettings(max_tokens=5, max_words=4))


def test_a_caption_that_is_read_whole_needs_no_remark(tokenizer: Tokenizer) -> None:
    assert check_text("A red car!", tokenizer) is None
    assert check_text("a red blue fox", tokenizer) is None  # four words and [CLS]: exactly all that is read


@pytest.mark.parametrize("text", ["a red fox a blue car", "a red fox, a " + "blue " * 40])
def test_what_is_read_of_a_longer_text_is_told(tokenizer: Tokenizer, text: str) -> None:
    assert check_text(text, tokenizer) == "the model reads only the beginning of the text: 'a red fox a'"


@pytest.mark.parametrize("text", ["", "  \n", "?!", "\t"])
def test_a_text_without_words_is_refused(tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(UsageError, match="has no words"):
        check_text(text, tokenizer)


def test_ten_thousand_words_are_refused_with_both_numbers(tokenizer: Tokenizer) -> None:
    with pytest.raises(UsageError, match="59,999 characters \\(10,000 words\\), more than 2,000") as caught:
        check_text(" ".join(["words"] * 10_000), tokenizer)
    assert "first 5 tokens" in str(caught.value)
