"""The tokenizer of a spec: that of a published model from a package, a folder or the hub, or one trained on captions.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cbalign.data.published import TOKENIZER_FILES, local_folder, published_folder
from cbalign.data.published_tokenizer import read_published
from cbalign.data.text import TextSettings, Tokenizer
from cbalign.errors import CbalignError
from cbalign.parts import TextTowerSection

PLACE = "model.text.architecture"


def text_settings(section: TextTowerSection) -> TextSettings:
    """Return truncation and special tokens for the text tower."""
    wanted = section.tokenizer_settings()
    return TextSettings(max_tokens=wanted.max_tokens, max_words=wanted.max_words, closing_sep=wanted.closing_sep)


def build_tokenizer(section: TextTowerSection, captions: Callable[[], Iterable[str]]) -> Tokenizer:
    """Build the tokenizer of the text tower.

    Args:
        section: `model.text`.
        captions: returns the training captions; called only if the vocabulary is trained on them.
    """
    wanted, settings = section.tokenizer_settings(), text_settings(section)
    if wanted.pretrained is None:
        return Tokenizer.train(captions(), wanted.vocabulary, settings)
    if wanted.own_form:
        return read_published(wanted.pretrained, PLACE, settings)
    return Tokenizer.from_folder(published_folder(wanted.pretrained, PLACE, TOKENIZER_FILES), settings)


def tokenizer_at_hand(section: TextTowerSection, captions: Callable[[], Iterable[str]]) -> Tokenizer | None:
    """Build the tokenizer of the text tower if that is possible without a network, else return None.

    Args:
        section: `model.text`.
        captions: returns the training captions.
    """
    published = section.tokenizer_settings().pretrained
    if published is not None and local_folder(published) is None:
        return None
    try:
        return build_tokenizer(section, captions)
    except CbalignError:
        return None
