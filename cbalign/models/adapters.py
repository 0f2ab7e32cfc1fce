"""Low-rank adapters (LoRA, Hu et al., 2022) in the blocks of a tower.

A linear layer y = W x with an adapter computes y = W x + (α / r) B A x; W is frozen, A (r, in) and B (out, r) are
trained, and B begins as 0. The layers are those of the package `peft`. For evaluation and export they are merged into
W, so that a graph contains no adapters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cbalign.errors import MissingExtraError, SpecError
from cbalign.models.tower import Tower
from cbalign.parts.trained import TrainAdapters

SCALE = "adapter_scale"  # buffer of a tower: α / r
_BASE, _A, _B = ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"


def add_adapters(section: TrainAdapters, tower: Tower, place: str) -> None:
    """Freeze a tower and add adapters to the linear layers of its blocks.

    Raises:
        MissingExtraError: `peft` is not installed.
        SpecError: the blocks have no such layers.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{place}.train: lora needs the package peft, which is not installed",
            remedy="Install it with: pip install 'cbalign[lora]'",
        ) from error
    chosen = _layers(section, tower, place)
    tower.requires_grad_(False)
    config = LoraConfig(
        r=section.rank,
        lora_alpha=section.scale_numerator,
        lora_dropout=section.dropout,
        target_modules=chosen,
        init_lora_weights=True,
    )
    inject_adapter_in_model(config, tower)
    for name, parameter in tower.named_parameters():
        parameter.requires_grad_("lora_" in name)
    tower.register_buffer(SCALE, torch.tensor(section.scale_numerator / section.rank))
    # Statistics of frozen layers stay, too.
    tower.keep_still([module for module in tower.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)])


def is_adapter(name: str) -> bool:
    """Whether a tensor of this name belongs to an adapter rather than to the tower's own layers."""
    return "lora_" in name or name.rpartition(".")[2] == SCALE


def name_without_adapter(name: str) -> str:
    """Return the name of a tensor in a tower without adapters."""
    return name.replace(_BASE, ".")


def merge_adapters(model: nn.Module) -> None:
    """Replace the adapted layers of a model that is not trained any more by plain linear layers that compute the same.

    The weights of each layer become its own, because student and teacher share them.
    """
    for tower in [module for module in model.modules() if isinstance(module, Tower) and hasattr(module, SCALE)]:
        for name, layer in list(tower.named_modules()):
            if hasattr(layer, "lora_A"):
                parent, _, own = name.rpartition(".")
                setattr(tower.get_submodule(parent), own, _merged(layer))
        delattr(tower, SCALE)


def merged_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a model with its adapters merged, by the names of a model without adapters."""
    scales = {name.removesuffix(SCALE): tensor for name, tensor in weights.items() if name.endswith(f".{SCALE}")}
    merged: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if is_adapter(name):
            continue
        layer = name.removesuffix(f"{_BASE}weight") if name.endswith(f"{_BASE}weight") else None
        if layer is not None and layer + _A in weights:
            scale = next(value for prefix, value in scales.items() if name.startswith(prefix))
            tensor = tensor + scale * (weights[layer + _B] @ weights[layer + _A])
        merged[name_without_adapter(name)] = tensor
    return merged


def _layers(section: TrainAdapters, tower: Tower, place: str) -> list[str]:
    """The names of the linear layers that get adapters."""
    inside = {id(module) for block in tower.blocks for module in block.modules()}
    linear = [name for name, module in tower.named_modules() if type(module) is nn.Linear and id(module) in inside]
    if section.targets is None:
        chosen = linear
    else:
        chosen = [name for name in linear if name.rpartition(".")[2] in section.targets]
    if not chosen:
        known = sorted({name.rpartition(".")[2] for name in linear})
        raise SpecError(
            f"{place}.train: the blocks of this tower have no linear layers"
            + ("" if section.targets is None else f" named {', '.join(section.targets)}"),
            remedy=f"Choose targets among {', '.join(known)}." if known else f"Set {place}.train to all or frozen.",
        )
    return chosen


@torch.no_grad()
def _merged(layer: Any) -> nn.Linear:
    base: nn.Linear = layer.get_base_layer()
    plain = nn.Linear(base.in_features, base.out_features, base.bias is not None, device="meta")
    plain.weight = nn.Parameter(base.weight + layer.get_delta_weight("default"), requires_grad=False)
    plain.bias = base.bias
    return plain.train(base.training)
