"""Checkpoints of older versions load: tensors and moments get their current names."""

import torch
from safetensors.torch import save_file

from cbalign.engine.checkpoint import (
    MODEL,
    OPTIMIZER,
    TrainingState,
    load_checkpoint,
    read_model,
    save_checkpoint,
)
from cbalign.engine.checksums import CHECKSUMS
from cbalign.engine.optimizer import build_adamw
from cbalign.models.renamed import RENAMED, current_name
from tests.objectives.alignment import LATER, batch, experiment, learner


def old_name(name):
    for old, new in RENAMED:
        if name.startswith(new):
            return old + name.removeprefix(new)
    return name


def trained_step():
    spec = experiment()
    trained = learner(spec)
    optimizer = build_adamw(trained.parameter_groups(), spec.train.optimizer)
    torch.manual_seed(3)
    trained.step(batch(), LATER).loss.backward()
    optimizer.step()
    return trained, optimizer


def test_a_checkpoint_with_the_old_names_is_the_same_checkpoint(tmp_path):
    trained, optimizer = trained_step()
    folder = save_checkpoint(tmp_path, TrainingState(1, 9, 4, 6, 6), trained.model, optimizer, keep=1)
    expected, moments = read_model(folder), torch.load(folder / OPTIMIZER)
    old = {old_name(name): tensor for name, tensor in expected.items()}
    assert {
        "codebook.prototypes",
        "codebook.last_used",
        "match_head.weight",
        "student.masked_language_head.bias",
        "teacher.network.masked_language_head.transform.weight",
    } <= old.keys()
    (folder / CHECKSUMS).unlink()  # checkpoints with the old names have none
    save_file(old, folder / MODEL)
    torch.save({old_name(name): state for name, state in moments.items()}, folder / OPTIMIZER)

    spec = experiment()
    resumed = learner(spec)
    again = build_adamw(resumed.parameter_groups(), spec.train.optimizer)
    load_checkpoint(folder, resumed.model, again)
    assert all(tensor.equal(expected[name]) for name, tensor in resumed.model.state_dict().items())
    names = {p: name for name, p in resumed.model.named_parameters()}
    assert all(again.state[p]["exp_avg"].equal(moments[names[p]]["exp_avg"]) for p in again.state), (
        "moments belong to their parameters"
    )
    assert {names[p] for p in again.state} == moments.keys()


def test_current_names_stay():
    assert all(current_name(new + "weight") == new + "weight" for _, new in RENAMED)
    assert current_name("student.fusion.layers.0.x") == "student.fusion.layers.0.x"
