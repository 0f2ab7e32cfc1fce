"""The commands that start a training on one device, one machine or several machines."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

PORT = 29500


@dataclass(frozen=True)
class Launch:
    """A command that starts the training; `where` says on which machines."""

    where: str
    command: str


def launches(train: Sequence[str], *, devices: int, nodes: int) -> list[Launch]:
    """List the commands that start a training.

    Args:
        train: the words of the command for one device, `cbalign train …`.
        devices: number of devices.
        nodes: number of machines; each has the same number of devices.
    """
    command = shlex.join(train)
    if devices == 1:
        return [Launch("", command)]
    if nodes == 1:
        return [Launch("", f"{command} --nproc {devices}")]
    each = devices // nodes
    rendezvous = f"--rdzv-backend c10d --rdzv-endpoint HEAD:{PORT}"
    return [
        Launch(
            f"on each of the {nodes} nodes, where HEAD is the host name of one of them",
            f"torchrun --nnodes {nodes} --nproc-per-node {each} {rendezvous} --no-python {command}",
        ),
        Launch(
            "or once, with Slurm",
            f"srun --nodes {nodes} --ntasks-per-node {each} --gpus-per-node {each} {command}",
        ),
    ]
