"""Check texts from users: empty and overlong texts are rejected, and truncation is reported."""

from __future__ import annotations

from cbalign.data.text import Tokenizer
from cbalign.errors import UsageError

MAX_CHARACTERS = 2_000
"""Longer texts are rejected: the model expects captions."""


def check_text(text: str, tokenizer: Tokenizer) -> str | None:
    """Return a note if the model truncates the text, or None.

    Raises:
        UsageError: the text has no words, or is far too long for a caption.
    """
    limit = tokenizer.settings.max_tokens
    if len(text) > MAX_CHARACTERS:
        raise UsageError(
            f"the text has {len(text):,} characters ({len(text.split()):,} words), more than {MAX_CHARACTERS:,}",
            remedy=f"The model reads the first {limit} tokens: write a short caption.",
        )
    if not tokenizer.form.has_words(text):
        raise UsageError("the text has no words", remedy="Describe the image: a red car")
    if not tokenizer.truncates(text):
        return None
    read = tokenizer.encode([text]).input_ids[0]
    return f"the model reads only the beginning of the text: {tokenizer.decode(read.tolist())!r}"
