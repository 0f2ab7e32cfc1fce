"""Checkpoints are complete or not there, and load only where they fit."""

import errno
import os
import resource
import shutil
import subprocess

import pytest
import tiny_task
import torch
from torch import nn

from cbalign.engine import files
from cbalign.engine.checkpoint import (
    TrainingState,
    load_checkpoint,
    load_model_weights,
    read_model,
    read_state,
    save_checkpoint,
    save_model,
)
from cbalign.engine.checkpoint_folder import latest_checkpoint, list_checkpoints
from cbalign.engine.optimizer import build_adamw
from cbalign.errors import CheckpointError, StorageError


def state(step):
    return TrainingState(
        step, total_steps=9, steps_per_epoch=3, global_batch_size=4, samples_seen=4 * step, window={"loss": (0.1, 3)}
    )


@pytest.fixture
def trained():
    """A model and its optimiser after one step."""
    torch.manual_seed(0)
    model = tiny_task.TinyModel()
    optimizer = build_adamw(tiny_task.no_decay_for_vectors(model.parameters(), 0.1), tiny_task.settings().optimizer)
    model(torch.ones(2, tiny_task.WIDTH)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_what_is_saved_is_loaded(tmp_path, trained):
    model, optimizer = trained
    path = save_checkpoint(tmp_path, state(7), model, optimizer, keep=2)
    other = tiny_task.TinyModel()
    fresh = build_adamw(tiny_task.no_decay_for_vectors(other.parameters(), 0.1), tiny_task.settings().optimizer)
    assert load_checkpoint(path, other, fresh) == state(7)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert other.last.weight is other.first.weight, "tied weights stay tied"
    for (_, one), (_, two) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert optimizer.state[one].keys() == fresh.state[two].keys()
        assert all(torch.equal(optimizer.state[one][k], fresh.state[two][k]) for k in optimizer.state[one])
    assert (tmp_path / "latest").read_text() == "step-7\n"


def test_the_files_load_without_executing_anything(tmp_path, trained):
    path = save_checkpoint(tmp_path, state(1), *trained, keep=2)
    moments = torch.load(path / "optimizer.pt", weights_only=True)
    assert moments["first.weight"].keys() == {"step", "exp_avg", "exp_avg_sq"}


def test_tensors_that_share_memory_are_stored_whole_and_once(tmp_path):
    class Sharing(nn.Module):
        def __init__(self):
            super().__init__()
            flat = torch.arange(12.0)
            self.register_buffer("tied", flat)
            self.register_buffer("same", flat)
            self.register_buffer("part", flat[3:6])
            self.register_buffer("turned", flat.view(3, 4).T)

    saved, loaded = Sharing(), Sharing()
    save_model(saved, tmp_path / "m.safetensors")
    loaded.tied.zero_()
    load_model_weights(loaded, tmp_path / "m.safetensors")
    assert torch.equal(loaded.same, torch.arange(12.0))
    tensors = read_model(tmp_path / "m.safetensors")
    assert torch.equal(tensors["part"], torch.tensor([3.0, 4.0, 5.0]))
    assert torch.equal(tensors["turned"], saved.turned)
    assert (tmp_path / "m.safetensors").stat().st_size < 4 * (12 + 12 + 12) + 500


def test_old_checkpoints_go_when_the_new_one_is_complete(tmp_path, trained, monkeypatch):
    for step in (1, 2):
        save_checkpoint(tmp_path, state(step), *trained, keep=2)
    with monkeypatch.context() as context:
        context.setattr(files.os, "fsync", lambda descriptor: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save_checkpoint(tmp_path, state(10), *trained, keep=2)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-1", "step-2"]
    save_checkpoint(tmp_path, state(10), *trained, keep=2)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-2", "step-10"]
    assert latest_checkpoint(tmp_path) == tmp_path / "step-10"


def test_leftovers_of_killed_writes_are_ignored_and_removed(tmp_path, trained):
    left = tmp_path / f"{files.UNFINISHED}step-8"
    left.mkdir()
    (left / "model.safetensors").write_text("half")
    assert latest_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, state(1), *trained, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step-1"]


@pytest.fixture(params=["weights", "moments"])
def room(request):
    """Bytes on a disk that is full in the middle of that part of a `Linear(300, 300)`: 361 kB and twice that."""
    return {"weights": 200_000, "moments": 500_000}[request.param]


@pytest.fixture(params=["limit", "tmpfs"])
def full_disk(request, tmp_path, room):
    """A folder that takes a small checkpoint but no large one."""
    if request.param == "limit":
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        yield tmp_path
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        return
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={room}", "none", str(tmp_path)]
    if mount is None or os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small disk here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_full_disk_leaves_the_previous_checkpoint_and_nothing_half_written(full_disk, trained):
    small = save_checkpoint(full_disk, state(1), *trained, keep=1)
    content = {p.name: p.read_bytes() for p in small.iterdir()}
    large = nn.Linear(300, 300)
    optimizer = build_adamw(tiny_task.no_decay_for_vectors(large.parameters(), 0.1), tiny_task.settings().optimizer)
    large(torch.ones(1, 300)).sum().backward()
    optimizer.step()
    with pytest.raises(StorageError, match=r"Cannot write .*step-2") as caught:
        save_checkpoint(full_disk, state(2), large, optimizer, keep=1)
    assert caught.value.exit_code == 3
    assert caught.value.remedy is not None
    assert sorted(p.name for p in full_disk.iterdir()) == ["latest", "step-1"]
    assert {p.name: p.read_bytes() for p in small.iterdir()} == content
    assert (full_disk / "latest").read_text() == "step-1\n"


def test_training_stops_on_a_full_disk_and_goes_on_when_there_is_room(new_run, monkeypatch):
    undisturbed, run = new_run(), new_run()
    tiny_task.train(undisturbed)
    real = os.fsync

    def full(descriptor):
        if (run.checkpoints / "step-10").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            tiny_task.train(run)
    assert read_state(run.latest_checkpoint()).step == 10
    tiny_task.train(run)
    assert tiny_task.digest(run) == tiny_task.digest(undisturbed)


def test_weights_of_another_model_are_refused_with_every_difference(tmp_path):
    save_model(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3)), tmp_path / "m.safetensors")
    other = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4, bias=False))
    before = [p.clone() for p in other.parameters()]
    with pytest.raises(CheckpointError) as caught:
        load_model_weights(other, tmp_path / "m.safetensors")
    message = str(caught.value)
    assert "missing    2.weight (4, 4)" in message
    assert "unexpected 1.bias (3,)" in message
    assert "reshaped   0.weight: (3, 2) in the checkpoint, (4, 2) here" in message
    assert all(torch.equal(old, new) for old, new in zip(before, other.parameters(), strict=True))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "state.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_damaged_checkpoint_is_named(tmp_path, trained, name, damage):
    path = save_checkpoint(tmp_path, state(1), *trained, keep=2)
    file = path / name
    content = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(path, *trained)


def test_moments_of_other_parameters_are_refused(tmp_path, trained):
    path = save_checkpoint(tmp_path, state(1), *trained, keep=2)
    moments = torch.load(path / "optimizer.pt", weights_only=True)
    torch.save({"elsewhere": moments["first.bias"]}, path / "optimizer.pt")
    (path / "SHA256SUMS").unlink()
    with pytest.raises(CheckpointError, match="elsewhere"):
        load_checkpoint(path, *trained)


def test_pickled_code_in_a_checkpoint_is_not_run(tmp_path, trained):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "pwned"),))

    path = save_checkpoint(tmp_path, state(1), *trained, keep=2)
    torch.save({"first.bias": Evil()}, path / "optimizer.pt")
    with pytest.raises(CheckpointError, match=r"optimizer\.pt"):
        load_checkpoint(path, *trained)
    assert not (tmp_path / "pwned").exists()
