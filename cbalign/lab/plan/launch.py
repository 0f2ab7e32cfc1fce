"""What to type to start a training on one device, on one machine, on several."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

PORT = 29500


@dataclass(frozen=True)
class Launch:
    """One way to start; `where` says on which machines."""

    where: str
    command: str


def launches(train: Sequence[str], *, devices: int, nodes: int) -> list[Launch]:
    """Ways to start, the plainest first.

    Args:
        train: the words of the command for one device, `cbalign train …`.
        devices: how many train together.
        nodes: over how many machines they are spread evenly.
    """
    command = shlex.join(train)
    if devices == 1:
        return [Launch("", command)]
    if nodes == 1:
        return [Launch("", f"{command} --nproc {devices}")]
    each = devices // nodes
    meeting = f"--rdzv-backend c10d --rdzv-endpoint HEAD:{PORT}"
    return [
        Launch(
            f"on each of the {nodes} nodes, HEAD being the name of one of them",
            f"torchrun --nnodes {nodes} --nproc-per-node {each} {meeting} --no-python {command}",
        ),
        Launch(
            "or once, with SLURM",
            f"srun --nodes {nodes} --ntasks-per-node {each} --gpus-per-node {each} {command}",
        ),
    ]
