"""Which parameters of a tower are trained, and the learning-rate factor of each of its blocks."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from cbalign.errors import SpecError
from cbalign.models.tower import Tower
from cbalign.parts.towers import TowerSection
from cbalign.parts.trained import TrainAll, TrainLast, TrainNothing


def apply_training(section: TowerSection, tower: Tower, place: str) -> None:
    """Freeze what the section of a tower does not train.

    Args:
        section: the tower in a spec.
        tower: the tower, with its initial weights or not.
        place: the setting of the tower in messages, such as `model.vision`.

    Raises:
        SpecError: the tower has fewer blocks than are to be trained, or none although each is to have its own rate.
    """
    tower.layer_decay = section.layer_decay
    if section.layer_decay < 1 and not list(tower.blocks):
        raise SpecError(
            f"{place}.layer_decay: {section.layer_decay} needs a tower with blocks, and {section.kind} has none",
            remedy=f"Remove {place}.layer_decay; train.optimizer has a learning-rate factor for the whole tower.",
        )
    section.train.build(tower, place)


def train_all(section: TrainAll, tower: Tower, place: str) -> None:
    """Leave every parameter trained."""


def freeze(section: TrainNothing, tower: Tower, place: str) -> None:
    """Freeze the whole tower."""
    tower.freeze()


def train_last(section: TrainLast, tower: Tower, place: str) -> None:
    """Freeze everything before the last `section.blocks` blocks.

    Raises:
        SpecError: the tower has fewer blocks.
    """
    blocks = list(tower.blocks)
    if section.blocks > len(blocks):
        raise SpecError(
            f"{place}.train.blocks: {section.blocks} blocks are to be trained, and the tower has {len(blocks)}",
            remedy=f"Set {place}.train.blocks to at most {len(blocks)}, or {place}.train to all."
            if blocks
            else f"Set {place}.train to all or frozen.",
        )
    first = len(blocks) - section.blocks + 1
    frozen = [parameter for parameter, layer in layers(tower) if layer < first]
    for parameter in frozen:
        parameter.requires_grad_(False)
    tower.keep_still(_before(tower, blocks[-section.blocks]))


def layers(tower: Tower) -> Iterator[tuple[nn.Parameter, int]]:
    """Yield the parameters of a tower with their layer: 0 before the blocks, 1 to n in them, n + 1 behind them.

    What is behind the blocks is what the tower registers after them: a final norm, a pooling.
    """
    blocks = list(tower.blocks)
    of_blocks = {id(p): i for i, block in enumerate(blocks, 1) for p in block.parameters()}
    outside = 0
    for parameter in tower.parameters():
        layer = of_blocks.get(id(parameter))
        if layer is not None:
            outside = len(blocks) + 1
        yield parameter, outside if layer is None else layer


def _before(tower: Tower, block: nn.Module) -> list[nn.Module]:
    """The modules that the tower registers before `block` and that contain nothing that is trained."""
    still: list[nn.Module] = []
    for module in tower.modules():
        if module is block:
            break
        if not any(p.requires_grad for p in module.parameters()):
            still.append(module)
    return still
