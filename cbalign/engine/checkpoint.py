"""Checkpoints: folders `step-N`, written atomically.

    checkpoints/
      latest                 the name of the newest complete checkpoint, in one line
      best                   the name of the checkpoint that `train.keep_best` keeps, in one line
      step-1200/
        model.safetensors    every parameter and buffer of the model, tensors that are tied stored once
        optimizer.pt         AdamW's moments by parameter name; loads with `torch.load(weights_only=True)`
        state.json           counters: `TrainingState`
        SHA256SUMS           checksums of these files, as `sha256sum` writes them

A checkpoint is written to a temporary folder, synced and renamed; only then is `latest` updated and are old ones
removed. A kill at any moment leaves a complete newest checkpoint, and a full disk leaves the previous one intact.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from cbalign.engine.checkpoint_folder import BEST, LATEST, list_checkpoints
from cbalign.engine.checksums import verify_checksums, write_checksums
from cbalign.engine.files import UNFINISHED, new_folder, remove_unfinished, storage_errors, write_durably
from cbalign.engine.optimizer import OptimizerState, load_optimizer_state, optimizer_state
from cbalign.engine.sharding import sharded_like, whole_tensors
from cbalign.engine.step_schedule import StepSchedule
from cbalign.errors import CheckpointError, DamagedCheckpointError, UsageError
from cbalign.models.pretrained import why_unreadable
from cbalign.models.renamed import with_current_names

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.pt", "state.json"
_OLDER = "Resume the run, which falls back to the checkpoint before; or remove this one."
_SHOWN = 40  # lines of a message
_TIED = "tied"  # metadata key: JSON object, name of a tensor -> name under which its values are stored


@dataclass(frozen=True)
class TrainingState:
    """The counters of a training after `step` optimiser steps."""

    step: int
    total_steps: int
    steps_per_epoch: int
    global_batch_size: int
    samples_seen: int
    window: Mapping[str, tuple[float, int]] = field(default_factory=dict)  # sum and count since the last log line

    @classmethod
    def of(cls, step: int, step_schedule: StepSchedule, window: Mapping[str, tuple[float, int]]) -> TrainingState:
        """Build the state after `step` steps of a training with this step schedule."""
        return cls(
            step=step,
            total_steps=step_schedule.total_steps,
            steps_per_epoch=step_schedule.steps_per_epoch,
            global_batch_size=step_schedule.global_batch_size,
            samples_seen=step * step_schedule.global_batch_size,
            window=window,
        )

    def require_same_length(self, step_schedule: StepSchedule, name: str) -> None:
        """Reject resuming with a step schedule of other lengths.

        Args:
            step_schedule: that of the training that resumes.
            name: the run, for the message.

        Raises:
            UsageError: lists the lengths that changed.
        """
        if self.step == 0:  # imported weights: no step was made yet
            return
        pairs = [
            ("total steps", self.total_steps, step_schedule.total_steps),
            ("steps per epoch", self.steps_per_epoch, step_schedule.steps_per_epoch),
            ("pairs per step", self.global_batch_size, step_schedule.global_batch_size),
        ]
        changed = [f"{what} were {old}, now {new}" for what, old, new in pairs if old != new]
        if changed:
            raise UsageError(
                f"{name} cannot resume: {'; '.join(changed)}.",
                remedy="The data or the number of processes changed: restore them, or start a new run.",
            )


def save_checkpoint(
    folder: Path,
    state: TrainingState,
    model: nn.Module,
    optimizer: Optimizer,
    *,
    keep: int,
    best: int | None = None,
    writes: bool = True,
) -> Path:
    """Write `step-N` into `folder`, then remove all but the newest `keep` checkpoints and that of step `best`.

    An existing `step-N` is left as it is: the same step of the same run has the same content. Processes that train
    together all call it, because sharded tensors are put together first; one of them writes.

    Raises:
        StorageError: it cannot be written; the previous checkpoints are intact.
    """
    final = folder / f"step-{state.step}"
    weights = whole_tensors(model.state_dict(keep_vars=True), kept=writes)
    moments = optimizer_state(optimizer, model, kept=writes)
    if not writes:
        return final
    remove_unfinished(folder)
    if not final.exists():
        with new_folder(final) as temporary:
            save_weights(weights, temporary / MODEL)
            _save_moments(moments, temporary / OPTIMIZER)
            (temporary / STATE).write_text(json.dumps(asdict(state), indent=1) + "\n", encoding="utf-8")
            write_checksums(temporary)
    write_durably(folder / LATEST, f"{final.name}\n".encode())
    if best is None:
        (folder / BEST).unlink(missing_ok=True)
    else:
        write_durably(folder / BEST, f"step-{best}\n".encode())
    others = [path for path in list_checkpoints(folder) if best is None or path.name != f"step-{best}"]
    for old in others[:-keep]:
        doomed = old.with_name(f"{UNFINISHED}{old.name}")
        os.rename(old, doomed)  # a kill while its files go leaves no `step-N` that lacks some
        shutil.rmtree(doomed, ignore_errors=True)
    return final


def set_aside(checkpoints: Sequence[Path]) -> None:
    """Rename damaged checkpoints to `damaged-step-N`, so that the training can write theirs again.

    Raises:
        StorageError: one cannot be renamed.
    """
    for checkpoint in checkpoints:
        aside = checkpoint.with_name(f"damaged-{checkpoint.name}")
        with storage_errors(checkpoint):
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(checkpoint, aside)


def _save_moments(moments: OptimizerState, path: Path) -> None:
    try:
        with open(path, "wb") as file:
            torch.save(moments, file)
    except RuntimeError as error:
        # A write that failed makes torch's zip writer fail again as it closes, which hides the reason.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def save_model(model: nn.Module, path: Path) -> None:
    """Write a model's parameters and buffers; none of them may be sharded.

    Raises:
        OSError: it cannot be written.
    """
    save_weights(model.state_dict(), path)


def save_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors by name, moved to the CPU one at a time.

    Raises:
        OSError: it cannot be written.
    """
    tensors, tied = _without_repeats(weights)
    try:
        # One key of metadata only: safetensors writes several in random order, and equal models are to be equal files.
        save_file(tensors, path, metadata={_TIED: json.dumps(tied)})
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        number = int(code[1]) if code else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def _without_repeats(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return each distinct tensor once, contiguous and in its own memory, and the names of the tied tensors."""
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    seen: dict[tuple[object, ...], str] = {}
    for name, tensor in state.items():
        key = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and key in seen:
            tied[name] = seen[key]
            continue
        seen[key] = name
        whole = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
        tensors[name] = tensor.detach().contiguous() if whole else tensor.detach().contiguous().clone()
    return tensors, tied


def read_model(checkpoint: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint by their current names, on the CPU; tied names share one tensor.

    Args:
        checkpoint: a `step-N` folder or a `.safetensors` file.

    Raises:
        DamagedCheckpointError: it is missing or damaged.
    """
    path = checkpoint / MODEL if checkpoint.is_dir() else checkpoint
    if checkpoint.is_dir():
        verify_checksums(checkpoint, [MODEL])
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            tied = json.loads((file.metadata() or {}).get(_TIED, "{}"))
        return with_current_names(tensors | {name: tensors[kept] for name, kept in tied.items()})
    except (OSError, SafetensorError, json.JSONDecodeError, KeyError, AttributeError) as error:
        raise DamagedCheckpointError(f"Cannot read the weights in {path}: {error}.", remedy=_OLDER) from error


def load_model_weights(model: nn.Module, checkpoint: Path) -> None:
    """Put a checkpoint's tensors into `model`; every name and shape must fit.

    Raises:
        CheckpointError: it is damaged or does not match the model, which is unchanged.
    """
    tensors, expected = read_model(checkpoint), model.state_dict()
    mistakes = [f"  missing    {name} {tuple(expected[name].shape)}" for name in expected.keys() - tensors]
    mistakes += [f"  unexpected {name} {tuple(tensors[name].shape)}" for name in tensors.keys() - expected]
    mistakes += [
        f"  reshaped   {name}: {tuple(tensors[name].shape)} in the checkpoint, {tuple(expected[name].shape)} here"
        for name in expected.keys() & tensors
        if tensors[name].shape != expected[name].shape
    ]
    if mistakes:
        raise CheckpointError(
            f"{checkpoint} does not match the model:\n" + "\n".join(_first(sorted(mistakes))),
            remedy="Use the spec that it was trained with (resolved.yaml of its run).",
        )
    model.load_state_dict({name: sharded_like(tensor, expected[name]) for name, tensor in tensors.items()})


def _first(lines: list[str]) -> list[str]:
    return [*lines[:_SHOWN], f"  and {len(lines) - _SHOWN:,} more"] if len(lines) > _SHOWN else lines


def read_state(checkpoint: Path) -> TrainingState:
    """Read the counters of a checkpoint.

    Raises:
        DamagedCheckpointError: they are missing or damaged.
    """
    path = checkpoint / STATE
    verify_checksums(checkpoint, [STATE])
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values["window"] = {name: (total, count) for name, (total, count) in values["window"].items()}
        return TrainingState(**values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedCheckpointError(f"Cannot read the counters in {path}: {error}.", remedy=_OLDER) from error


def load_checkpoint(checkpoint: Path, model: nn.Module, optimizer: Optimizer) -> TrainingState:
    """Put a checkpoint's weights and moments in place and return its counters.

    Raises:
        DamagedCheckpointError: it is damaged.
        CheckpointError: it does not fit.
    """
    state = read_state(checkpoint)
    load_model_weights(model, checkpoint)
    path = checkpoint / OPTIMIZER
    verify_checksums(checkpoint, [OPTIMIZER])
    try:
        moments = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load's own, pickle's and zip's: anything a damaged file can cause
        message = f"Cannot read the optimiser's state in {path}: {why_unreadable(error)}"
        raise DamagedCheckpointError(message, remedy=_OLDER) from error
    if not isinstance(moments, dict):
        raise DamagedCheckpointError(f"{path} contains no optimiser state.", remedy=_OLDER)
    load_optimizer_state(optimizer, model, with_current_names(moments))
    return state
