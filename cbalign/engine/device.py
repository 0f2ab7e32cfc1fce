"""The device of a training: its choice, and its errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cbalign.errors import DeviceError, UsageError
from cbalign.runtime.memory_errors import is_out_of_memory

_SMALLER = "Make train.batch_size smaller; train.global_batch_size keeps the optimiser's batch."
_NAMES = re.compile(r"auto|cpu|cuda(:[0-9]{1,4})?")


def choose_device(setting: str, *, local_rank: int = 0, name: str = "device") -> torch.device:
    """Resolve `auto`, `cpu`, `cuda` or `cuda:N` for one process of this machine.

    Without a number, process `local_rank` takes GPU `local_rank`. `name` is that of the setting, for messages.

    Raises:
        UsageError: there is no device of this name.
        DeviceError: the requested GPU does not exist.
    """
    if _NAMES.fullmatch(setting) is None:
        raise UsageError(f"no device {setting!r}", remedy="Choose auto, cpu, cuda or cuda:N.")
    if setting == "cpu" or (setting == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = f"torch {torch.__version__} sees none" if torch.version.cuda else "this torch is a CPU-only build"
        raise DeviceError(
            f"{name} is {setting}, but no GPU is available: {built}.",
            remedy=f"Check `nvidia-smi` and the CUDA build of torch, or set {name} to cpu.",
        )
    index = int(setting.partition(":")[2] or local_rank)
    count = torch.cuda.device_count()
    if index >= count:
        raise DeviceError(
            f"GPU {index} was requested, but this machine has {count} (numbered from 0).",
            remedy="Choose a smaller number, start fewer processes, or widen CUDA_VISIBLE_DEVICES.",
        )
    return torch.device("cuda", index)


@contextmanager
def translate_out_of_memory(device: torch.device) -> Iterator[None]:
    """Translate torch's errors about full memory of the device, and on the CPU of the machine.

    Raises:
        DeviceError: the device ran out of memory.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{device} ran out of memory: {str(error).splitlines()[0]}",
            remedy=_SMALLER,
        ) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError("the CPU ran out of memory", remedy=_SMALLER) from error
