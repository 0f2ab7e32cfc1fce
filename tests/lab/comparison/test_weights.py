"""Reading checkpoints and comparing them tensor by tensor, without torch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import save_file
from torch import nn

from cbalign.engine.checkpoint import save_model
from cbalign.errors import CheckpointError
from cbalign.lab.comparison.checkpoints import MODEL, TensorFile, compare_checkpoints, read_tensors
from cbalign.lab.comparison.weights import relative_change

ARRAYS = arrays.arrays(np.float32, (3, 2), elements=st.floats(-10, 10, width=32))


def test_tensors_are_read_as_safetensors_wrote_them(tmp_path):
    kinds = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8)
    written = {str(kind): (torch.arange(6) / 2).reshape(2, 3).to(kind) for kind in kinds}
    written |= {"scalar": torch.tensor(0.07), "empty": torch.zeros(0, 4)}
    save_file(written, tmp_path / "x.safetensors")
    file = TensorFile.open(tmp_path / "x.safetensors")
    assert {name: entry.shape for name, entry in file.entries.items()} == {
        n: tuple(t.shape) for n, t in written.items()
    }
    for name, tensor in written.items():
        np.testing.assert_array_equal(file.read(name), tensor.to(torch.float64).numpy())


def test_tied_tensors_count_under_both_names(tmp_path):
    model = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)})
    model["b"].weight = model["a"].weight
    save_model(model, tmp_path / MODEL)
    assert read_tensors(tmp_path).shapes == {"a.weight": (2, 3), "b.weight": (2, 3), "a.bias": (2,), "b.bias": (2,)}


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:20], lambda raw: raw[:-4], lambda raw: b"\xff" * 64, lambda raw: b""]
)
def test_a_damaged_file_is_refused(tmp_path, damage):
    save_file({"x": torch.ones(4)}, tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes(damage((tmp_path / "x.safetensors").read_bytes()))
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        TensorFile.open(tmp_path / "x.safetensors")


@given(a=ARRAYS, b=ARRAYS)
def test_the_relative_change_is_the_norm_of_the_difference_over_that_of_the_first(a, b):
    change = relative_change(a, b)
    assert (change == 0) == bool((a == b).all())
    if a.any():
        wide = a.astype(np.float64), b.astype(np.float64)
        assert change == pytest.approx(np.sqrt(((wide[1] - wide[0]) ** 2).sum() / (wide[0] ** 2).sum()), rel=1e-9)


def test_checkpoints_differ_in_what_changed_most_first(tmp_path):
    for name, moved, more in (("a", 0.0, {}), ("b", 0.5, {"new": torch.ones(1)})):
        tensors = {"kept": torch.ones(3), "little": torch.ones(4) + moved / 10, "much": torch.ones(4) + moved}
        (tmp_path / name).mkdir()
        shape = {"shape": torch.ones(2 if moved else 3)}
        save_file({**tensors, **shape, **more}, tmp_path / name / MODEL)
    changes = compare_checkpoints(tmp_path / "a", tmp_path / "b")
    assert [each.name for each in changes.changed] == ["much", "little"]
    assert [each.relative for each in changes.changed] == pytest.approx([0.5, 0.05], rel=1e-6)
    assert (changes.compared, changes.reshaped, changes.only) == (3, ("shape",), ((), ("new",)))
