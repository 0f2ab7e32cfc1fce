"""What a training will cost, in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cbalign.api.specs import Spec, SpecSource, spec

if TYPE_CHECKING:
    from cbalign.lab.plan.plan import Plan


def plan(
    source: SpecSource, /, *, devices: int = 1, gpus: Sequence[str] = (), pairs: int | None = None, **changes: object
) -> Plan:
    """Plan a training: parameters, operations, memory, steps, hours, disk. No weights are allocated.

    Args:
        source: the spec, as `cbalign.spec` takes it.
        devices: how many train together.
        gpus: names of GPUs to estimate hours for, such as `h100-80gb`.
        pairs: size of the training data; counted where the data are available.
        **changes: as of `cbalign.spec`.

    Raises:
        SpecError: the spec is not valid.
        UsageError: a GPU is not known.
    """
    from cbalign.lab.plan.gpus import gpu_named
    from cbalign.lab.plan.plan import make_plan

    loaded = (source if isinstance(source, Spec) and not changes else spec(source, **changes)).loaded
    return make_plan(loaded, [gpu_named(name) for name in gpus], devices=devices, pairs=pairs)
