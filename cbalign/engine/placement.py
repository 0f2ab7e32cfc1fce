"""Rank and rendezvous of a process, from the environment variables of its launcher.

`cbalign train --nproc` and torchrun set the same ones, SLURM's `srun` its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cbalign.errors import UsageError


@dataclass(frozen=True)
class ProcessPlacement:
    """Which process this is, according to its launcher, and where the processes meet."""

    rank: int
    size: int
    local_rank: int
    meeting: str  # torch's init_method


def read_placement(environment: Mapping[str, str]) -> ProcessPlacement | None:
    """Read torchrun's or `srun`'s variables; None in a process that was started alone.

    Raises:
        UsageError: the variables contradict each other.
    """
    try:
        if "RANK" in environment and "WORLD_SIZE" in environment:
            rank = int(environment["RANK"])
            placement = ProcessPlacement(
                rank=rank,
                size=int(environment["WORLD_SIZE"]),
                local_rank=int(environment.get("LOCAL_RANK", rank)),
                meeting="env://",
            )
        # Only a step of `srun` has these; SLURM_NTASKS alone also appears in batch scripts that run once.
        elif int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "SLURM_PROCID" in environment:
            nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
            address = environment.get("MASTER_ADDR") or first_host(nodes)
            port = environment.get("MASTER_PORT") or 20000 + int(environment.get("SLURM_JOB_ID", 0)) % 20000
            placement = ProcessPlacement(
                rank=int(environment["SLURM_PROCID"]),
                size=int(environment["SLURM_STEP_NUM_TASKS"]),
                # Where SLURM gives each task a GPU of its own, that is the only one which the task sees.
                local_rank=0 if _sees_one_gpu(environment) else int(environment.get("SLURM_LOCALID", 0)),
                meeting=f"tcp://{address}:{port}",
            )
        else:
            return None
    except ValueError as error:
        raise UsageError(
            f"The launcher's environment variables cannot be read: {error}.",
            remedy="Start with torchrun or srun, or unset RANK, WORLD_SIZE and SLURM_STEP_NUM_TASKS.",
        ) from None
    if not 0 <= placement.rank < placement.size:
        raise UsageError(
            f"The launcher's environment variables say rank {placement.rank} of {placement.size}.",
            remedy="Ranks are numbered from 0; unset RANK and WORLD_SIZE to train in one process.",
        )
    return placement


def _sees_one_gpu(environment: Mapping[str, str]) -> bool:
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    return bool(visible) and "," not in visible


def first_host(nodes: str) -> str:
    """The first host of SLURM's compressed list: `gpu[03-07,9],login1` gives `gpu03`."""
    match = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\]([^,]*))?", nodes)
    if match is None:
        return "127.0.0.1"
    return match[1] + (match[2] or "") + (match[3] or "")
