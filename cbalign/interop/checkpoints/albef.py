"""Checkpoints of ALBEF's and TCL's pretraining and retrieval models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cbalign.data.published import TOKENIZER_FILES, published_folder
from cbalign.data.text import Tokenizer
from cbalign.data.vocabulary import PLACE, text_settings
from cbalign.errors import CheckpointError, DataError, MissingExtraError, UsageError
from cbalign.experiment.architectures import BERTS, MINILM, BertConfig
from cbalign.experiment.experiment import Experiment
from cbalign.interop.checkpoints.format import ImportRequest, describe_other
from cbalign.interop.checkpoints.prepared import ASSETS, Prepared, run_name
from cbalign.models.albef_import import load_albef
from cbalign.models.albef_sizes import AlbefSizes, infer_sizes
from cbalign.models.pretrained import read_weights
from cbalign.tasks.align.network import build_alignment

BASE = "bert-base-uncased"
CONFIG = "config.json"
LONGEST_CAPTION = 30  # tokens, in ALBEF's retrieval


def read_checkpoint(request: ImportRequest, scratch: Path) -> Prepared:
    """Make a model of a checkpoint of ALBEF's or TCL's pretraining or retrieval.

    Args:
        request: `source` is `{'model': …}` or a bare state dict, read without running code that it may hold. Without
            `loaded`, the model is read off the file and the OpenMoji drawings are the data. `tokenizer` is the BERT
            whose vocabulary the file's word embeddings belong to; None takes the spec's, or else the uncased BERT
            vocabulary of an installed package.
        scratch: for temporary files.

    Raises:
        CheckpointError: the file cannot be read, contains another model, or does not match the spec or the tokenizer.
        DataError: the tokenizer is damaged.
    """
    file = Path(request.source)
    weights = read_weights(file)
    sizes = _sizes(weights, file, request)
    standard, loaded = _is_standard(sizes.bert), request.loaded
    if loaded is not None:
        experiment = buildable = loaded.experiment
    else:
        write_bert_config(sizes.bert, scratch)
        name = run_name(request.name, request.source)
        experiment = _experiment(sizes, name, BASE if standard else ASSETS)
        buildable = _experiment(sizes, name, BASE if standard else str(scratch))
    words = _tokenizer(request.tokenizer, experiment, sizes, own_words=loaded is not None)
    torch.manual_seed(experiment.train.seed)
    model = build_alignment(
        buildable.model,
        buildable.objectives.active(),
        words.info,
        legacy=buildable.legacy,
        initialise=False,
    )
    report = load_albef(model, weights, sizes, file)
    own = experiment.model.text.tokenizer_settings().pretrained == ASSETS
    return Prepared(experiment, model, words, report, files={CONFIG: scratch / CONFIG} if own else {})


def _sizes(weights: Mapping[str, Tensor], file: Path, request: ImportRequest) -> AlbefSizes:
    try:
        return infer_sizes(weights, file, image_heads=request.image_heads, text_heads=request.text_heads)
    except CheckpointError as error:
        if hint := describe_other(weights, request.source, "albef"):
            raise CheckpointError(error.message, remedy=hint) from error
        raise


def _is_standard(bert: BertConfig) -> bool:
    """Whether a spec can express all sizes by changing those of BERT-base."""
    base = BERTS[BASE]
    return (bert.positions, bert.types) == (base.positions, base.types)


def _experiment(sizes: AlbefSizes, name: str, architecture: str) -> Experiment:
    """Return ALBEF's experiment with the sizes of the file."""
    base = BERTS[BASE]
    vision: dict[str, object] = {
        "kind": "timm",
        "architecture": "deit_base_patch16_224",
        "image_size": sizes.image_size,
        "preprocessing": {"like": "albef"},
    }
    theirs = (sizes.patch_size, sizes.vision_layers, sizes.vision_width, sizes.vision_heads)
    if theirs != (16, 12, 768, 12):
        vision |= dict(zip(("patch_size", "layers", "width", "heads"), theirs)) | {"init": "random"}
    text: dict[str, object] = {
        "kind": "bert",
        "architecture": architecture,
        "layers": sizes.text_layers,
        "max_tokens": min(LONGEST_CAPTION, sizes.bert.positions),
    }
    if architecture != BASE:
        text["init"] = "random"
    elif (sizes.bert.width, sizes.bert.heads, sizes.bert.intermediate) != (base.width, base.heads, base.intermediate):
        widths = {"width": sizes.bert.width, "heads": sizes.bert.heads, "intermediate": sizes.bert.intermediate}
        text |= widths | {"init": "random"}
    model: dict[str, object] = {
        "vision": vision,
        "text": text,
        "fusion": {"layers": sizes.fusion_layers},
        "joint_dim": sizes.joint_dim,
    }
    if sizes.queue_length is not None:
        model["queue"] = {"length": sizes.queue_length}
    pretrained = sizes.has_masked_language_head
    drawings = {"source": "openmoji", "render_size": max(8, sizes.image_size)}
    spec = {
        "cbalign": 1,
        "name": name,
        "description": "Weights in the format of ALBEF's releases.",
        "model": model,
        "objectives": {
            "contrastive": {"intra_modal": False, "positives": "pair" if pretrained else "image"},
            "codebook": {"weight": 0},
            "matching": {"weight": float(sizes.has_match_head)},
            "masked_language": {"weight": float(pretrained)},
        },
        "data": {
            **{split: drawings | {"split": split} for split in ("train", "validation", "test")},
            "augmentation": {"two_views": False},
        },
        "evaluate": [
            {"kind": "retrieval", "protocols": ["dual", "rerank"] if sizes.has_match_head else ["dual"]},
        ],
    }
    return Experiment.model_validate_json(json.dumps(spec))


def write_bert_config(bert: BertConfig, folder: Path) -> None:
    """Write the sizes as a BERT's config.json, where a spec's `text.architecture` finds them."""
    values = {
        "model_type": "bert",
        "vocab_size": bert.vocabulary,
        "hidden_size": bert.width,
        "num_hidden_layers": bert.layers,
        "num_attention_heads": bert.heads,
        "intermediate_size": bert.intermediate,
        "max_position_embeddings": bert.positions,
        "type_vocab_size": bert.types,
        "layer_norm_eps": bert.norm_eps,
        "initializer_range": bert.initializer_range,
    }
    (folder / CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _tokenizer(given: str | None, experiment: Experiment, sizes: AlbefSizes, *, own_words: bool) -> Tokenizer:
    section, size = experiment.model.text, sizes.bert.vocabulary
    settings, published = text_settings(section), section.tokenizer_settings().pretrained
    if own_words and published is None:
        raise UsageError(
            "model.text.tokenizer is `captions`: a trained vocabulary does not match imported word embeddings",
            remedy="Set model.text.tokenizer and model.text.init to pretrained.",
        )
    if given is None and own_words and published != BASE:
        given = published
    remedy = "Give the folder with its vocab.txt or tokenizer.json: --tokenizer FOLDER"
    if given is None and size != BERTS[BASE].vocabulary:
        raise CheckpointError(
            f"The file has embeddings of {size} words, which is not the vocabulary of {BASE}.", remedy=remedy
        )
    try:
        # all-MiniLM-L6-v2 has the vocabulary of BERT-base uncased.
        tokenizer = Tokenizer.from_folder(published_folder(given or MINILM, PLACE, TOKENIZER_FILES), settings)
    except MissingExtraError as error:
        raise CheckpointError("The vocabulary of BERT-base uncased is not installed.", remedy=remedy) from error
    except DataError as error:
        raise DataError(error.message, remedy=remedy) from error
    if tokenizer.vocabulary_size != size:
        raise CheckpointError(
            f"The tokenizer has {tokenizer.vocabulary_size} words, but the file has embeddings of {size}.",
            remedy=remedy,
        )
    return tokenizer
