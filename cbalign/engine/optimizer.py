"""AdamW over parameter groups, with a state that is saved by parameter name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from cbalign.engine.sharding import sharded_like, whole_tensors
from cbalign.engine.task import ParameterGroup
from cbalign.errors import CheckpointError
from cbalign.experiment.training import AdamWSection

OptimizerState = dict[str, dict[str, Tensor]]


def build_adamw(groups: Sequence[ParameterGroup], section: AdamWSection) -> AdamW:
    """Build AdamW (Loshchilov and Hutter, 2019) in torch's fused form, which exists for CPU and GPU.

    The learning rate is 0 until `set_learning_rate` sets that of the first step.
    """
    return AdamW(
        [
            {"params": list(group.parameters), "weight_decay": group.weight_decay, "lr_scale": group.lr_scale}
            for group in groups
        ],
        lr=0.0,
        betas=section.betas,
        eps=section.eps,
        fused=True,
    )


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of the next step: `rate` times each group's own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def trained_parameters(optimizer: Optimizer) -> Iterable[nn.Parameter]:
    """Yield all parameters that the optimiser updates."""
    for group in optimizer.param_groups:
        yield from group["params"]


def optimizer_state(optimizer: Optimizer, model: nn.Module, *, kept: bool = True) -> OptimizerState:
    """The whole moments by parameter name, so that they survive another order, grouping or sharding of parameters."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter]: whole_tensors(state, kept=kept) for parameter, state in optimizer.state.items() if state}


def load_optimizer_state(optimizer: Optimizer, model: nn.Module, saved: Mapping[str, object]) -> None:
    """Put saved moments in place, on each parameter's device.

    Raises:
        CheckpointError: they belong to other parameters.
    """
    parameters = dict(model.named_parameters())
    trained = set(trained_parameters(optimizer))
    states: dict[Tensor, dict[str, Tensor]] = {}
    for name, values in saved.items():
        parameter = parameters.get(name)
        if parameter is None or parameter not in trained:
            raise CheckpointError(f"The saved optimiser has a state for {name}, which this model does not train.")
        if not isinstance(values, dict) or not all(isinstance(v, Tensor) for v in values.values()):
            raise CheckpointError(f"The saved optimiser's state for {name} is not a dict of tensors.")
        for key, value in values.items():
            if value.ndim and value.shape != parameter.shape:
                raise CheckpointError(
                    f"The saved optimiser's {key} of {name} is {tuple(value.shape)},"
                    f" the parameter {tuple(parameter.shape)}."
                )
        states[parameter] = {
            key: value.to(parameter.device, torch.float32)
            if key == "step"
            else sharded_like(value.to(parameter.device, parameter.dtype), parameter)
            for key, value in values.items()
        }
    optimizer.state.clear()
    optimizer.state.update(states)
