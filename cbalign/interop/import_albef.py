"""From a checkpoint of ALBEF to a run that can be evaluated, exported and trained on."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cbalign.data.text import Tokenizer
from cbalign.data.vocabulary import bert_folder, text_settings
from cbalign.engine.checkpoint import TrainingState, save_checkpoint
from cbalign.engine.optimizer import build_adamw
from cbalign.engine.run import Run, create_run
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
from cbalign.tasks.align.network import build_alignment

BASE = "bert-base-uncased"
ASSETS = "./assets"  # in a run, beside resolved.yaml
CONFIG = "config.json"
LONGEST_CAPTION = 30  # tokens, in ALBEF's retrieval


@dataclass(frozen=True)
class Imported:
    """A run that was made from a file."""

    run: Run
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
    """Make a run of a checkpoint of ALBEF's pretraining or retrieval model. Nothing is written unless all fits.

    Args:
        file: `{'model': …}` or a bare state dict, read without running code that it may hold.
        runs: the folder of runs.
        loaded: the experiment that the run is to be of; None reads the model off the file and takes the OpenMoji
            drawings as data, so that the run can be evaluated at once.
        name: of the run, where no spec names it; the file's where left out.
        tokenizer: folder or hub name of the BERT whose vocabulary the file's word embeddings belong to. None takes
            the spec's, or else the uncased BERT vocabulary of an installed package.
        image_heads, text_heads: attention heads where the tensors' shapes leave them open.

    Raises:
        CheckpointError: the file cannot be read, is of another model, or does not fit the spec or the tokenizer.
        DataError: the tokenizer is damaged.
        StorageError: the run cannot be written.
    """
    weights = read_weights(file)
    sizes = infer_sizes(weights, file, image_heads=image_heads, text_heads=text_heads)
    standard = _is_standard(sizes.bert)
    with tempfile.TemporaryDirectory() as scratch:
        if loaded is not None:
            experiment = buildable = loaded.experiment
        else:
            _write_config(sizes.bert, Path(scratch))
            experiment = _experiment(sizes, name or _name(file), BASE if standard else ASSETS)
            buildable = _experiment(sizes, experiment.name, BASE if standard else scratch)
        words = _tokenizer(tokenizer, experiment, sizes, own_words=loaded is not None)
        torch.manual_seed(experiment.train.seed)
        model = build_alignment(
            buildable.model,
            buildable.objectives.active(),
            words.info,
            legacy=buildable.legacy,
            initialise=False,
        )
    report = load_albef(model, weights, sizes, file)

    def fill(run: Run) -> None:
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


def _name(file: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-._")
    return f"imported-{name}" if name else "imported"


def _is_standard(bert: BertConfig) -> bool:
    """Whether a spec can say all sizes by changing those of BERT-base."""
    base = BERTS[BASE]
    return (bert.positions, bert.types) == (base.positions, base.types)


def _experiment(sizes: AlbefSizes, name: str, architecture: str) -> Experiment:
    """ALBEF's experiment at the sizes of the file."""
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
        "description": "Weights of ALBEF's published form.",
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
    """The sizes as a BERT's config.json, where a spec's `text.architecture` finds them."""
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
            "model.text.tokenizer is `captions`: a vocabulary of its own does not fit imported word embeddings",
            remedy="Set model.text.tokenizer and model.text.init to pretrained.",
        )
    if given is None and own_words and published != BASE:
        given = published
    remedy = "Give the folder with its vocab.txt or tokenizer.json: --tokenizer FOLDER"
    if given is None and size != BERTS[BASE].vocabulary:
        raise CheckpointError(f"The file has embeddings of {size} words: which vocabulary is it?", remedy=remedy)
    try:
        # all-MiniLM-L6-v2 kept the vocabulary of BERT-base uncased, word by word.
        tokenizer = Tokenizer.from_folder(bert_folder(given or MINILM), settings)
    except MissingExtraError as error:
        raise CheckpointError("The vocabulary of BERT-base uncased is not on this machine.", remedy=remedy) from error
    except DataError as error:
        raise DataError(error.message, remedy=remedy) from error
    if tokenizer.vocabulary_size != size:
        raise CheckpointError(
            f"The tokenizer knows {tokenizer.vocabulary_size} words, the file has embeddings of {size}.", remedy=remedy
        )
    return tokenizer


def _facts(file: Path, tensors: TensorTable, tokenizer: Tokenizer) -> Mapping[str, object]:
    return {
        "imported_from": file.name,
        "parameters": {"trainable": tensors.trainable_parameters, "teacher": tensors.teacher_parameters},
        TENSORS: tensors.to_json(),
        "vocabulary": tokenizer.vocabulary_size,
    }


def _save(run: Run, experiment: Experiment, model: nn.Module) -> None:
    """The checkpoint of a training that has not made a step."""
    optimizer = build_adamw(
        no_decay_for_vectors(model.parameters(), experiment.train.optimizer.weight_decay), experiment.train.optimizer
    )
    state = TrainingState(step=0, total_steps=0, steps_per_epoch=0, global_batch_size=0, samples_seen=0)
    save_checkpoint(run.checkpoints, state, model, optimizer, keep=1)
