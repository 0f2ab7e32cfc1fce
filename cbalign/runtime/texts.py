"""Texts that people type: what is no text for a model, and what it will not read to the end."""

from __future__ import annotations

from cbalign.data.text import Tokenizer, normalise_caption
from cbalign.errors import UsageError

MAX_CHARACTERS = 2_000
"""Longer texts are refused: a model reads a caption, not a page."""


def check_text(text: str, tokenizer: Tokenizer) -> str | None:
    """What to tell the author of a text: None, or which part of it the model reads.

    Raises:
        UsageError: it has no words, or is far too long to be what a caption is.
    """
    limit = tokenizer.settings.max_tokens
    if len(text) > MAX_CHARACTERS:
        raise UsageError(
            f"the text has {len(text):,} characters ({len(text.split()):,} words), more than {MAX_CHARACTERS:,}",
            remedy=f"The model reads the first {limit} tokens: write a short caption.",
        )
    words = normalise_caption(text, max_words=MAX_CHARACTERS)
    read = tokenizer.encode([text]).input_ids[0]
    whole = tokenizer.encode([words], max_tokens=MAX_CHARACTERS).input_ids[0]
    if len(whole) == len(tokenizer.encode([""]).input_ids[0]):
        raise UsageError("the text has no words", remedy="Write what the picture shows: a red car")
    if len(read) == len(whole) and len(words.split(" ")) <= tokenizer.settings.max_words:
        return None
    return f"the model reads only the beginning of the text: {tokenizer.decode(read.tolist())!r}"
