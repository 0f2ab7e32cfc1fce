"""Loading a checkpoint of ALBEF into our model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from cbalign.errors import CheckpointError
from cbalign.models.albef import from_albef
from cbalign.models.albef_sizes import AlbefSizes
from cbalign.models.aligned import Aligned
from cbalign.models.weights import STUDENT, LoadRules, WeightReport, load_weights

# Tensors of the file that are constants or repeat others.
REDUNDANT = ("position_ids", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
QUEUES = ("image_queue", "text_queue", "queue_ptr", "idx_queue")


def load_albef(model: Aligned, weights: Mapping[str, Tensor], sizes: AlbefSizes, file: Path) -> WeightReport:
    """Load a checkpoint of ALBEF.

    A teacher that the file lacks becomes a copy of the student; queues, codebook and heads that it lacks keep their
    initial values. Position embeddings are interpolated to the model's image size; queues of another length stay
    empty.

    Args:
        model: of the architecture in the file.
        weights: the state dict, by ALBEF's names.
        sizes: see `infer_sizes`.
        file: for messages.

    Returns:
        The report; `unexpected` and `redundant` are the file's names.

    Raises:
        CheckpointError: the weights do not fit; the model is unchanged.
    """
    _refuse_other_depths(model, sizes, file)
    pointer = weights.get("queue_ptr")
    if pointer is not None and (pointer.numel() != 1 or pointer.is_floating_point()):
        raise CheckpointError(
            f"{file}: queue_ptr is {pointer.dtype} of shape {tuple(pointer.shape)}, expected one whole number"
        )
    if pointer is None:
        weights = {name: t for name, t in weights.items() if name not in QUEUES}
    found = from_albef(weights, sizes.text_layers)
    length = model.image_queue.length
    other_length = sizes.queue_length not in (None, length)
    if other_length:
        found = {name: tensor for name, tensor in found.items() if "_queue." not in name}
    rules = LoadRules(
        required=lambda name: name.startswith(STUDENT),
        remedy="Set the sizes of the model to the file's, or omit --spec to use the sizes in the file.",
    )
    report = load_weights(cast(nn.Module, model), found, str(file), rules)
    queues = [
        f"{queue}.features: {sizes.queue_length} in the file, {length} in the model; left empty"
        for queue in ("image_queue", "text_queue")
        if other_length
    ]
    unused = {id(found[name]) for name in report.unexpected}
    # The mapping passes tensors on as they are, except the queues.
    used = {id(tensor) for tensor in found.values()} - unused
    left = [name for name, tensor in weights.items() if id(tensor) not in used and name not in QUEUES]
    redundant = tuple(name for name in left if name.endswith(REDUNDANT))
    return replace(
        report,
        reshaped=(*queues, *report.reshaped),
        unexpected=tuple(name for name in left if name not in redundant),
        redundant=redundant,
    )


def _refuse_other_depths(model: Aligned, sizes: AlbefSizes, file: Path) -> None:
    """Refuse other numbers of layers: superfluous layers would be lost, missing layers would stay random."""
    student = model.student
    pairs = [
        ("model.vision.layers", len(list(student.vision.blocks)), sizes.vision_layers),
        ("model.text.layers", len(list(student.text.blocks)), sizes.text_layers),
    ]
    if student.fusion is not None:
        pairs.append(("model.fusion.layers", len(student.fusion.layers), sizes.fusion_layers))
    wrong = [f"{name} is {ours}, the file has {theirs}" for name, ours, theirs in pairs if ours != theirs]
    if wrong:
        raise CheckpointError(f"{file} does not fit the spec: {'; '.join(wrong)}")
