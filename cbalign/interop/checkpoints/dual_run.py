"""From a checkpoint with an image tower and a text tower to a model and its experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from cbalign.data.text import Tokenizer
from cbalign.data.vocabulary import build_tokenizer
from cbalign.errors import CheckpointError, DataError
from cbalign.experiment.experiment import Experiment
from cbalign.interop.checkpoints.dual import DualEncoder, Projection, TowerForm
from cbalign.interop.checkpoints.format import ImportRequest
from cbalign.interop.checkpoints.prepared import ASSETS, Prepared, run_name
from cbalign.models.weights import WeightReport
from cbalign.tasks.align.network import AlignmentModel, build_alignment

CONFIG, WEIGHTS = "config.json", "model.safetensors"
VISION, TEXT = "vision", "text"
RANGE = (0.001, 0.5)  # of the temperature, unless the checkpoint's is outside
TOKENIZER_REMEDY = (
    "Give the folder with its tokenizer.json, or vocab.json and merges.txt: --tokenizer FOLDER. transformers writes "
    "it: AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER)."
)


def prepare_dual(encoder: DualEncoder, request: ImportRequest, scratch: Path) -> Prepared:
    """Make a model of the towers.

    Args:
        encoder: the checkpoint.
        request: its source and name.
        scratch: an empty folder.

    Raises:
        CheckpointError: the towers' libraries do not accept configuration or weights.
        DataError: the tokenizer is missing or damaged.
    """
    folders = {name: scratch / name for name in (VISION, TEXT)}
    _write(encoder.vision, folders[VISION])
    _write(encoder.text, folders[TEXT])
    name = run_name(request.name, request.source)
    kept = _experiment(encoder, name, {tower: f"{ASSETS}/{tower}" for tower in folders}, "random")
    buildable = _experiment(encoder, name, {tower: str(folder) for tower, folder in folders.items()}, "pretrained")
    tokenizer = _tokenizer(buildable, encoder)
    model = build_alignment(
        buildable.model, buildable.objectives.active(), tokenizer.info, legacy=buildable.legacy, initialise=True
    )
    _fill(model, encoder)
    report = WeightReport(
        loaded=tuple(each for each in model.state_dict() if "queue." not in each),  # queues have length 0
        unexpected=tuple(each for names in encoder.left_out.values() for each in names),
        redundant=encoder.redundant,
    )
    files = {
        f"{tower}/{path.name}": path
        for tower, folder in folders.items()
        for path in sorted(folder.iterdir())
        if path.name != WEIGHTS
    }
    return Prepared(kept, model, tokenizer, report, files, _notes(encoder), _facts(encoder))


def _write(form: TowerForm, folder: Path) -> None:
    """The tower as a folder that a spec's `architecture` can name, with weights."""
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps(form.config, indent=2) + "\n", encoding="utf-8")
    for file in form.files:
        (folder / file.name).write_bytes(file.read_bytes())
    save_file(_unshared(form.tensors), folder / WEIGHTS, metadata={"format": "pt"})


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share no memory, which safetensors refuses."""
    seen: set[int] = set()
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        own[name] = tensor.clone() if tensor.data_ptr() in seen else tensor.contiguous()
        seen.add(tensor.data_ptr())
    return own


def _experiment(encoder: DualEncoder, name: str, folders: Mapping[str, str], init: str) -> Experiment:
    """The experiment of an imported run: contrastive, without teacher, queue and codebook, on the OpenMoji drawings.

    Raises:
        CheckpointError: the checkpoint has sizes that no spec can have.
    """
    vision = dict(encoder.vision.settings) | {"architecture": folders[VISION], "init": init}
    vision["preprocessing"] = encoder.images.section()
    size: Any = vision["image_size"]
    drawings = {"source": "openmoji", "render_size": max(8, size)}
    spec = {
        "cbalign": 1,
        "name": name,
        "description": f"Imported weights of {encoder.family}.",
        "model": {
            VISION: vision,
            TEXT: dict(encoder.text.settings) | {"architecture": folders[TEXT], "init": init},
            "joint_dim": encoder.joint_dim,
            "temperature": _temperature(encoder),
            "queue": {"length": 0},
            "teacher": {"momentum": 0.0, "distillation": 0.0},
        },
        "objectives": {
            "contrastive": {"intra_modal": False},
            "codebook": {"weight": 0},
            "matching": {"weight": 0},
            "masked_language": {"weight": 0},
        },
        "data": {
            **{split: drawings | {"split": split} for split in ("train", "validation", "test")},
            "augmentation": {"two_views": False},
        },
        "evaluate": [{"kind": "retrieval", "protocols": ["dual"]}],
    }
    try:
        return Experiment.model_validate_json(json.dumps(spec))
    except ValueError as error:  # pydantic's
        raise CheckpointError(f"The checkpoint of {encoder.family} does not make a valid spec: {error}") from error


def _temperature(encoder: DualEncoder) -> dict[str, float]:
    """The section `model.temperature`, whose bounds include the checkpoint's value."""
    value = encoder.temperature
    if value is None:
        return {}
    lowest, highest = RANGE
    return {"initial": value, "minimum": min(lowest, value), "maximum": max(highest, value)}


def _tokenizer(experiment: Experiment, encoder: DualEncoder) -> Tokenizer:
    try:
        return build_tokenizer(experiment.model.text, lambda: ())
    except DataError as error:
        raise DataError(f"{encoder.family}: {error.message}", remedy=TOKENIZER_REMEDY) from error


@torch.no_grad()
def _fill(model: AlignmentModel, encoder: DualEncoder) -> None:
    """Set what is not part of the towers, and the teacher."""
    student = model.student
    _project(student.image_projection, encoder.vision.projection, "image")
    _project(student.text_projection, encoder.text.projection, "text")
    if encoder.temperature is not None:
        model.temperature.value.fill_(encoder.temperature)
    model.teacher.network.load_state_dict(student.state_dict())


def _project(layer: torch.nn.Module, projection: Projection, part: str) -> None:
    assert isinstance(layer, torch.nn.Linear), "the spec of the run has no hidden layer in its projections"
    if layer.weight.shape != projection.weight.shape:
        raise CheckpointError(
            f"The {part} projection is {tuple(projection.weight.shape)} in the checkpoint, but the tower gives vectors "
            f"for {tuple(layer.weight.shape)}",
            remedy="Weights and configuration are of different models.",
        )
    layer.weight.copy_(projection.weight)
    layer.bias.copy_(projection.bias_or_zero)


def _notes(encoder: DualEncoder) -> tuple[str, ...]:
    notes = [f"{reason}: {len(names)} tensors are not imported." for reason, names in encoder.left_out.items()]
    if encoder.logit_bias is not None:
        notes.append(
            f"The checkpoint was trained with the logit bias {encoder.logit_bias:.4g} of a sigmoid loss. Rankings and "
            "embeddings do not depend on it; cbalign's contrastive objective does not use it."
        )
    if encoder.logit_scale is None:
        notes.append("The checkpoint has no temperature; it starts at the default.")
    return tuple(notes)


def _facts(encoder: DualEncoder) -> dict[str, object]:
    return {} if encoder.logit_bias is None else {"logit_bias": encoder.logit_bias}
