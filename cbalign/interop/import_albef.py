"""Import a checkpoint of ALBEF as a run that can be evaluated, exported and trained further."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cbalign.data.published import TOKENIZER_FILES, published_folder
from cbalign.data.text import Tokenizer
from cbalign.data.vocabulary import PLACE, text_settings
from cbalign.engine.checkpoint import TrainingState, save_checkpoint
from cbalign.engine.optimizer import build_adamw
from cbalign.engine.run import RunFolder, create_run
from cbalign.engine.task import no_decay_for_vectors
from cbalign.errors import CheckpointError, DataError, MissingExtraError, UsageError
from cbalign.experiment.architectures import BERTS, MINILM, BertConfig
from cbalign.experiment.dump import dump_yaml, experiment_fingerprint
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.load import LoadedExperiment
from cbalign.experiment.tensors import TENSORS, TensorTable
from cbalign.models.albef_import import load_albef
from cbalign.models.albef_sizes import AlbefSizes, infer_sizes
from cbalign.models.pretrained import read_weights
from cbalign.models.recorded import tensor_table
from cbalign.models.weights import WeightReport
from cbalign.tasks.align.network import AlignmentModel, build_alignment

BASE = "bert-base-uncased"
ASSETS = "./assets"  # in a run, next to resolved.yaml
CONFIG = "config.json"
LONGEST_CAPTION = 30  # tokens, in ALBEF's retrieval


@dataclass(frozen=True)
class Imported:
    """A run that was created from a file."""

    run: RunFolder
    experiment: Experiment
    sizes: AlbefSizes
    report: WeightReport
    tensors: TensorTable

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return self.tensors.trainable_parameters or 0


def import_albef(
    file: Path,
    runs: Path,
    *,
    loaded: LoadedExperiment | None = None,
    name: str | None = None,
    tokenizer: str | None = None,
    image_heads: int | None = None,
    text_heads: int | None = None,
) -> Imported:
    """Create a run from a checkpoint of ALBEF's pretraining or retrieval model. Nothing is written if an error occurs.

    Args:
        file: `{'model': …}` or a bare state dict, read without executing code.
        runs: the folder of runs.
        loaded: the experiment of the run; None infers the model from the file and uses the OpenMoji drawings as data,
            so that the run can be evaluated at once.
        name: name of the run without a spec; defaults to the name of the file.
        tokenizer: folder or hub name of the BERT whose vocabulary the file's word embeddings belong to. None uses the
            spec's, or else the uncased BERT vocabulary of an installed package.
        image_heads, text_heads: numbers of attention heads, if the shapes of the tensors do not determine them.

    Raises:
        CheckpointError: the file cannot be read, contains another model, or does not match the spec or the tokenizer.
        DataError: the tokenizer is damaged.
        StorageError: the run cannot be written.
    """
    weights = read_weights(file)
    sizes = infer_sizes(weights, file, image_heads=image_heads, text_heads=text_heads)
    experiment, words, model = _build(sizes, loaded, name or _name(file), tokenizer)
    report = load_albef(model, weights, sizes, file)

    def fill(run: RunFolder) -> None:
        words.save(run.assets)
        if experiment.model.text.tokenizer_settings().pretrained == ASSETS:
            _write_config(sizes.bert, run.assets)
        _save(run, experiment, model)

    resolved = dump_yaml(experiment)
    tensors = tensor_table(model)
    run = create_run(
        runs,
        experiment.name,
        spec=loaded.path.read_text(encoding="utf-8") if loaded is not None and loaded.path.is_file() else resolved,
        resolved=resolved,
        fingerprint=experiment_fingerprint(experiment),
        facts=_facts(file, tensors, words),
        fill=fill,
    )
    return Imported(run, experiment, sizes, report, tensors)


def _build(
    sizes: AlbefSizes, loaded: LoadedExperiment | None, name: str, tokenizer: str | None
) -> tuple[Experiment, Tokenizer, AlignmentModel]:
    """Build the model of a spec, or without a spec, one of the file's sizes; its weights are not initialised."""
    architecture = BASE if _is_standard(sizes.bert) else ASSETS
    with tempfile.TemporaryDirectory() as scratch:
        if loaded is not None:
            experiment = buildable = loaded.experiment
        else:
            _write_config(sizes.bert, Path(scratch))
            experiment = _experiment(sizes, name, architecture)
            buildable = _experiment(sizes, name, BASE if architecture == BASE else scratch)
        words = _tokenizer(tokenizer, experiment, sizes, own_words=loaded is not None)
        torch.manual_seed(experiment.train.seed)
        model = build_alignment(
            buildable.model,
            buildable.objectives.active(),
            words.info,
            legacy=buildable.legacy,
            initialise=False,
        )
    return experiment, words, model


def _name(file: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-._")
    return f"imported-{name}" if name else "imported"


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
    vision_sizes = (sizes.patch_size, sizes.vision_layers, sizes.vision_width, sizes.vision_heads)
    if vision_sizes != (16, 12, 768, 12):
        vision |= dict(zip(("patch_size", "layers", "width", "heads"), vision_sizes)) | {"init": "random"}
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


def _write_config(bert: BertConfig, folder: Path) -> None:
    """Write the sizes as the config.json of a BERT, which `text.architecture` of a spec reads."""
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


def _facts(file: Path, tensors: TensorTable, tokenizer: Tokenizer) -> Mapping[str, object]:
    return {
        "imported_from": file.name,
        "parameters": {"trainable": tensors.trainable_parameters, "teacher": tensors.teacher_parameters},
        TENSORS: tensors.to_json(),
        "vocabulary": tokenizer.vocabulary_size,
    }


def _save(run: RunFolder, experiment: Experiment, model: nn.Module) -> None:
    """Write the checkpoint of a training before its first step."""
    optimizer = build_adamw(
        no_decay_for_vectors(model.parameters(), experiment.train.optimizer.weight_decay), experiment.train.optimizer
    )
    state = TrainingState(step=0, total_steps=0, steps_per_epoch=0, global_batch_size=0, samples_seen=0)
    save_checkpoint(run.checkpoints, state, model, optimizer, keep=1)
