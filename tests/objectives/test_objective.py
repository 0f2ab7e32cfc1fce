"""An objective of somebody else: one section, one module, no other edit."""

import dataclasses
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from cbalign.engine.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from cbalign.engine.optimizer import build_adamw, set_learning_rate
from cbalign.errors import PartError
from cbalign.objectives.objective import Objective, Term
from cbalign.parts import Effect, ObjectiveSection, setting
from tests.objectives.alignment import BATCH, LATER, batch, experiment, learner


class Sigmoid(ObjectiveSection):
    """L = -mean_i sum_j log sigma(y_ij (s z_i . z_j + b)) (Zhai et al., 2023)."""

    name = "sigmoid"
    builds = "tests.objectives.test_objective:SigmoidLoss"

    bias: float = setting(-2.0, effect=Effect.TRAINING, help="Initial bias b.")


class SigmoidLoss(Objective):
    def __init__(self, section, context):
        super().__init__(section, context)
        self.bias = nn.Parameter(torch.tensor(section.bias))
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.mixing = nn.Parameter(torch.eye(context.joint_dim))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, step):
        texts = step.world.gather(step.text_embedding)
        with step.full_precision():
            logits = step.image_embedding @ self.mixing @ texts.T * self.scale + self.bias
        signs = 2 * torch.eye(len(step.batch)) - 1
        return Term(-F.logsigmoid(signs * logits).sum(dim=1).mean(), {"sigmoid/bias": self.bias})

    def after_step(self, progress):
        self.steps += 1


class Mismatched(ObjectiveSection):
    """A section that promises what its module does not provide."""

    name = "mismatched"
    builds = "tests.objectives.test_objective:SigmoidLoss"
    provides: ClassVar[frozenset[str]] = frozenset({"codebook"})
    bias: float = setting(0.0, effect=Effect.TRAINING, help="Initial bias b.")


class NoObjective(ObjectiveSection):
    """A section that builds something else."""

    name = "nothing"
    builds = "tests.objectives.test_objective:describe"


def describe(section, context):
    return "no module"


def make_step(trained, optimizer, seed=0):
    optimizer.zero_grad(set_to_none=True)
    trained.before_step(LATER)
    output = trained.step(batch(seed), LATER)
    output.loss.backward()
    optimizer.step()
    trained.after_step(LATER)
    return output


def opened():
    spec = experiment()
    trained = learner(spec, {"sigmoid": Sigmoid(weight=0.5)})
    optimizer = build_adamw(trained.parameter_groups(), spec.train.optimizer)
    set_learning_rate(optimizer, 1e-4)
    return trained, optimizer


def test_its_parameters_are_trained_and_its_metrics_are_logged():
    trained, optimizer = opened()
    own = trained.model.objectives["sigmoid"]
    before = {name: p.detach().clone() for name, p in own.named_parameters()}
    output = make_step(trained, optimizer)
    assert output.loss.item() == pytest.approx(0.5 * output.terms["sigmoid"].item())
    assert output.metrics["sigmoid/bias"].item() == pytest.approx(before["bias"].item(), abs=1e-3)
    assert not output.metrics["sigmoid/bias"].requires_grad
    assert {name for name, p in own.named_parameters() if not p.equal(before[name])} == {"bias", "scale", "mixing"}
    assert int(own.steps) == 1


def test_its_vectors_and_scalars_do_not_decay():
    trained, _ = opened()
    decay = {id(p): group.weight_decay for group in trained.parameter_groups() for p in group.parameters}
    own = trained.model.objectives["sigmoid"]
    assert decay[id(own.bias)] == decay[id(own.scale)] == 0
    assert decay[id(own.mixing)] > 0


def test_it_is_saved_and_resumed(tmp_path):
    trained, optimizer = opened()
    make_step(trained, optimizer)
    save_checkpoint(tmp_path, TrainingState(1, 20, 4, BATCH, BATCH), trained.model, optimizer, keep=1)
    expected = make_step(trained, optimizer, seed=1)
    resumed, again = opened()
    load_checkpoint(tmp_path / "step-1", resumed.model, again)
    assert make_step(resumed, again, seed=1).loss.equal(expected.loss)
    found = resumed.model.state_dict()
    assert all(tensor.equal(found[name]) for name, tensor in trained.model.state_dict().items())
    assert int(found["objectives.sigmoid.steps"]) == 2


def test_what_it_does_not_ask_for_is_not_done():
    trained, optimizer = opened()
    called = count_calls(trained.model)
    make_step(trained, optimizer)
    assert called == {"student.vision": 1, "student.text": 1}
    assert trained.model.student.fusion is None
    assert int(trained.model.image_queue.filled) == 0


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (Mismatched(), r"the section provides \['codebook'\], the module \[\]"),
        (NoObjective(), "not a cbalign.objectives.objective.Objective"),
    ],
)
def test_a_section_and_a_module_that_disagree_are_named(section, message):
    with pytest.raises(PartError, match=message):
        learner(experiment(), {section.name: section})


def count_calls(model):
    """How often the networks of student and teacher are called, as it goes on."""
    called: dict[str, int] = {}
    for owner, towers in (("student", model.student), ("teacher", model.teacher.network)):
        for name in ("vision", "text", "fusion"):
            if (network := getattr(towers, name)) is not None:
                network.register_forward_hook(
                    lambda *_, key=f"{owner}.{name}": called.__setitem__(key, called.get(key, 0) + 1)
                )
    return called


def test_an_objective_that_rests_costs_nothing_in_that_step():
    rare = learner(experiment(matching={"every": 3}, masked_language={"every": 3}))
    calls = []
    rare.model.student.fusion.register_forward_hook(lambda *_: calls.append(1))
    for number, terms in ((3, 4), (4, 2), (5, 2), (6, 4)):
        calls.clear()
        found = rare.step(batch(), dataclasses.replace(LATER, step=number))
        assert len(found.terms) == terms
        assert bool(calls) is (terms == 4)
        assert torch.allclose(found.loss, torch.stack(list(found.terms.values())).sum())


def test_every_step_has_a_loss():
    rare = {name: {"every": 2} for name in ("contrastive", "codebook", "matching", "masked_language")}
    with pytest.raises(ValidationError, match="some steps would have no loss"):
        experiment(**rare)
