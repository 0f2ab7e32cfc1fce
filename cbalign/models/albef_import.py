"""ALBEF's tensors put into our model: what was taken over, made anew, changed in shape, or left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from cbalign.errors import CheckpointError
from cbalign.models.albef import from_albef
from cbalign.models.albef_sizes import AlbefSizes
from cbalign.models.aligned import Aligned
from cbalign.models.vision import are_square, resize_positions

STUDENT, TEACHER = "student.", "teacher.network."  # of towers and of heads that have a teacher
POSITIONS = "vision.transformer.pos_embed"
# Tensors of the file that are constants or repeat another.
REDUNDANT = ("position_ids", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
QUEUES = ("image_queue", "text_queue", "queue_ptr", "idx_queue")


@dataclass(frozen=True)
class Taken:
    """What became of each tensor. Names are ours, except `unexpected` and `redundant`, which are the file's."""

    loaded: tuple[str, ...]
    copied: tuple[str, ...]  # of the teacher, from the student
    reshaped: tuple[str, ...]  # with both shapes
    new: tuple[str, ...]  # missing in the file: at their initial values
    unexpected: tuple[str, ...]
    redundant: tuple[str, ...]


@dataclass
class _Ledger:
    loaded: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def load_albef(model: Aligned, weights: Mapping[str, Tensor], sizes: AlbefSizes, file: Path) -> Taken:
    """Fill `model` from a checkpoint of ALBEF.

    A teacher that the file lacks becomes a copy of the student; queues, codebook and heads that it lacks stay as they
    are. Position embeddings are interpolated to the model's image size; queues of another length stay empty.

    Args:
        model: of the architecture that the file has.
        weights: the state dict, by ALBEF's names.
        sizes: what `infer_sizes` says of it.
        file: for messages.

    Raises:
        CheckpointError: it does not fit; nothing was loaded then.
    """
    _refuse_other_depths(model, sizes, file)
    if "queue_ptr" not in weights:
        weights = {name: t for name, t in weights.items() if name not in QUEUES}
    found = from_albef(weights, sizes.text_layers)
    ledger = _Ledger()
    length = model.image_queue.length
    if sizes.queue_length not in (None, length):
        found = {name: tensor for name, tensor in found.items() if "_queue." not in name}
        ledger.reshaped.append(f"queues: {sizes.queue_length} features in the file, {length} here; left empty")
    module = cast(nn.Module, model)
    initials = module.state_dict()
    state = {name: _value(name, initial, found, ledger) for name, initial in initials.items() if TEACHER not in name}
    for name, initial in initials.items():
        student = name.replace(TEACHER, STUDENT, 1)
        if name in state:
            continue
        if name not in found and student in found:
            state[name] = state[student]
            ledger.copied.append(name)
        else:
            state[name] = _value(name, initial, found, ledger)
    if ledger.wrong:
        raise CheckpointError(
            f"{file} does not fit the spec:\n" + "\n".join(f"  {line}" for line in ledger.wrong),
            remedy="Set the sizes of the model to the file's, or leave --spec away: they are then read off the file.",
        )
    module.load_state_dict(state)
    unexpected, redundant = _left(weights, found, state)
    return Taken(
        loaded=tuple(ledger.loaded),
        copied=tuple(ledger.copied),
        reshaped=tuple(ledger.reshaped),
        new=tuple(ledger.new),
        unexpected=unexpected,
        redundant=redundant,
    )


def _refuse_other_depths(model: Aligned, sizes: AlbefSizes, file: Path) -> None:
    """Layers too many would be left over, layers too few would stay random."""
    student = model.student
    pairs = [
        ("model.vision.layers", len(student.vision.transformer.blocks), sizes.vision_layers),
        ("model.text.layers", len(student.text.layers), sizes.text_layers),
    ]
    if student.fusion is not None:
        pairs.append(("model.fusion.layers", len(student.fusion.layers), sizes.fusion_layers))
    wrong = [f"{name} is {ours}, the file has {theirs}" for name, ours, theirs in pairs if ours != theirs]
    if wrong:
        raise CheckpointError(f"{file} does not fit the spec: {'; '.join(wrong)}")


def _value(name: str, initial: Tensor, found: Mapping[str, Tensor], ledger: _Ledger) -> Tensor:
    """The file's tensor in the model's shape, or the initial one."""
    if name not in found:
        if name.startswith(STUDENT):
            ledger.wrong.append(f"missing   {name} {tuple(initial.shape)}")
        else:
            ledger.new.append(name)
        return initial
    given = found[name]
    if given.shape == initial.shape:
        ledger.loaded.append(name)
        return given.to(initial.dtype)
    shapes = f"{name}: {tuple(given.shape)} in the file, {tuple(initial.shape)} here"
    if name.endswith(POSITIONS) and are_square(given) and given.shape[2] == initial.shape[2]:
        ledger.reshaped.append(shapes)
        return resize_positions(given.float(), initial.shape[1]).to(initial.dtype)
    ledger.wrong.append(f"reshaped  {shapes}")
    return initial


def _left(
    weights: Mapping[str, Tensor], found: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The file's tensors that the model has no place for, and those that repeat others."""
    # The mapping passes tensors on as they are, except the queues.
    used = {id(tensor) for name, tensor in found.items() if name in state}
    left = [name for name, tensor in weights.items() if id(tensor) not in used and name not in QUEUES]
    redundant = tuple(name for name in left if name.endswith(REDUNDANT))
    return tuple(name for name in left if name not in redundant), redundant
