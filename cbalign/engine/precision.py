"""Choice of the training precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from cbalign.engine.distribution import World
from cbalign.errors import DeviceError

Precision = Literal["fp32", "bf16"]
PrecisionSetting = Literal["auto", "fp32", "bf16"]


def choose_precision(setting: PrecisionSetting, device: torch.device) -> Precision:
    """Resolve `auto`, `fp32` or `bf16` on `device`."""
    if setting != "auto":
        return setting
    return "bf16" if multiplies_bf16(device) else "fp32"


def agree_precision(setting: PrecisionSetting, begun: Precision | None, world: World) -> Precision:
    """Agree on the precision of all processes and attempts: that of the first attempt, else bf16 if all support it."""
    if begun is not None:
        return begun
    chosen = choose_precision(setting, world.device)
    return "fp32" if world.any(chosen == "fp32") else "bf16"


def multiplies_bf16(device: torch.device) -> bool:
    """Whether `device` has instructions for bf16; a CPU without them emulates it, about five times as slow as fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if not hasattr(torch.cpu, "get_capabilities"):  # added after torch 2.9
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last is ARM's


def check_precision(device: torch.device, precision: Precision) -> None:
    """Check that `device` supports `precision` natively, and disable TF32 for fp32.

    Matrix products in fp32 stay exact (torch's default): the transport solver divides costs by a small β and would
    amplify the rounding of TF32. Only convolutions default to TF32 in torch, and `fp32` turns that off.

    Raises:
        DeviceError: bf16 on a GPU older than Ampere.
    """
    if device.type != "cuda":
        return
    if precision == "bf16" and not multiplies_bf16(device):
        raise DeviceError(
            f"{torch.cuda.get_device_name(device)} does not compute in bf16.",
            remedy="Set train.precision to fp32.",
        )
    torch.backends.cudnn.allow_tf32 = precision != "fp32"


def explain_emulation(device: torch.device, precision: Precision) -> str:
    """Return a hint if `device` only emulates `precision`; empty if it supports it natively."""
    if precision == "fp32" or multiplies_bf16(device):
        return ""
    return "this processor only emulates bf16, which is slow; train.precision: auto uses fp32 here"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context in which forward passes run."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
