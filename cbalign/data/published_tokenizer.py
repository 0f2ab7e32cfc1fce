"""The tokenizer of a published text model, as transformers reads it. Imports no torch.

transformers' tokenizer classes change what tokenizer.json says (SigLIP 2's converts to lower case, for example).
Therefore they read the files where transformers is installed. What is saved with a run or bundle needs the library
`tokenizers` only.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, normalizers

from cbalign.data.published import TOKENIZER_FILES, published_folder
from cbalign.data.text import TextSettings, Tokenizer
from cbalign.data.text_form import PublishedText
from cbalign.errors import DataError

FULL_LENGTH = ("siglip_text_model", "siglip2_text_model", "siglip", "siglip2")
"""Types of models that read padding: their texts are padded to all positions."""

_LENGTH = 64  # of SigLIP's texts
_PUNCTUATION = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""  # Python's string.punctuation
_SLOW = ("SiglipTokenizer",)  # of the package sentencepiece, which has no normaliser of its own


def read_published(name: str, place: str, settings: TextSettings) -> Tokenizer:
    """Read the tokenizer of a published model.

    Args:
        name: local folder or name on the hub.
        place: the setting that names it, for messages.
        settings: limits; `published` is set here.

    Raises:
        CheckpointError: neither a folder nor a model that can be downloaded.
        DataError: the folder has no tokenizer, or it cannot be read.
    """
    folder = published_folder(name, place, TOKENIZER_FILES)
    vocabulary, tokens = (None if _is_slow(folder) else _by_transformers(folder)) or _by_files(folder, place)
    if (length := full_length(folder)) is not None:
        # SigLIP and SigLIP 2 were trained on lower case; not every class of SigLIP 2's tokenizer converts to it.
        lower = normalizers.Lowercase()
        own = vocabulary.normalizer
        vocabulary.normalizer = lower if own is None else normalizers.Sequence([lower, own])
    else:
        tokens = replace(tokens, padding_side="right")
    return Tokenizer(vocabulary, replace(settings, published=replace(tokens, pad_to=length)))


def text_config(folder: Path) -> dict[str, Any]:
    """Read config.json of a text model, or the text half's part of an image-text model; empty if there is none."""
    raw = _read(folder / "config.json")
    half = raw.get("text_config")
    return {"model_type": raw.get("model_type"), **half} if isinstance(half, dict) else raw


def full_length(folder: Path) -> int | None:
    """Return the length to which the texts of a model are padded that reads padding; None for all others."""
    config = text_config(folder)
    if config.get("model_type") not in FULL_LENGTH:
        return None
    positions = config.get("max_position_embeddings", _LENGTH)
    return positions if isinstance(positions, int) else _LENGTH


def _is_slow(folder: Path) -> bool:
    """Whether transformers would read the tokenizer with sentencepiece: SigLIP's first."""
    named = _read(folder / "tokenizer_config.json").get("tokenizer_class")
    kind = text_config(folder).get("model_type")
    return named in _SLOW or (named is None and kind in ("siglip", "siglip_text_model"))


def _by_transformers(folder: Path) -> tuple[tokenizers.Tokenizer, PublishedText] | None:
    """The tokenizer as transformers reads it; None if transformers is missing or needs a package that is."""
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError:
        return None
    try:
        read = AutoTokenizer.from_pretrained(str(folder))
        backend = read.backend_tokenizer
    except Exception:  # transformers raises many kinds; the files themselves are tried next
        return None
    vocabulary = tokenizers.Tokenizer.from_str(backend.to_str())
    return vocabulary, PublishedText(
        pad=_text(read.pad_token),
        unk=_text(read.unk_token),
        cls=_text(read.cls_token or read.bos_token),
        end=_text(read.eos_token or read.sep_token),
        mask=_text(read.mask_token),
        special=tuple(map(str, read.all_special_tokens)),
        padding_side="left" if read.padding_side == "left" else "right",
    )


def _by_files(folder: Path, place: str) -> tuple[tokenizers.Tokenizer, PublishedText]:
    """The tokenizer of tokenizer.json, with the special tokens of tokenizer_config.json."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise DataError(
            f"{place}: {folder} has no tokenizer that can be read",
            remedy="Expected tokenizer.json, or vocab.txt, or vocab.json with merges.txt, and tokenizer_config.json. "
            "Write them with transformers: AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER).",
        )
    try:
        vocabulary = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise DataError(f"{place}: {file} is not a tokenizer ({error})") from error
    config = _read(folder / "special_tokens_map.json") | _read(folder / "tokenizer_config.json")
    if _is_slow(folder):
        vocabulary.normalizer = _canonical(vocabulary.normalizer)
    known = {
        name: token
        for name in ("pad", "unk", "cls", "bos", "eos", "sep", "mask")
        if (token := _text(config.get(f"{name}_token"))) is not None
    }
    return vocabulary, PublishedText(
        pad=known.get("pad"),
        unk=known.get("unk"),
        cls=known.get("cls") or known.get("bos"),
        end=known.get("eos") or known.get("sep"),
        mask=known.get("mask"),
        special=tuple(dict.fromkeys(known.values())),
        padding_side="left" if config.get("padding_side") == "left" else "right",
    )


def _canonical(normalizer: Any) -> Any:
    """SigLIP's normalisation in front of a normaliser: lower case, no punctuation, single spaces."""
    steps = [
        normalizers.Lowercase(),
        normalizers.Replace(Regex(_PUNCTUATION), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]
    return normalizers.Sequence([*steps, *([] if normalizer is None else [normalizer])])


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return {}
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def _text(token: object) -> str | None:
    """A special token in a configuration: a text, or an object with its text."""
    content = token.get("content") if isinstance(token, dict) else token
    return None if content is None else str(content)
