"""What a training will cost, in Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from cbalign.api.arguments import listed, whole
from cbalign.api.specs import Spec, SpecSource, spec

if TYPE_CHECKING:
    from cbalign.lab.plan.fit import Fit
    from cbalign.lab.plan.plan import TrainingPlan


@dataclass(frozen=True)
class Plan:
    """What a training will cost. Made by `cbalign.plan`.

    Attributes:
        estimate: parameters, operations, memory, steps, hours and disk; `to_dict` has them as plain data.
        fitted: how the batch was fitted to a GPU; None unless `fit` was given.
    """

    estimate: TrainingPlan
    fitted: Fit | None = None

    @property
    def batch_size(self) -> int | None:
        """`train.batch_size` of the plan; None if not even the smallest batch fits the GPU of `fit`."""
        return self.estimate.experiment.train.batch_size if self.fitted is None else self.fitted.batch_size

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {**({} if self.fitted is None else {"fit": self.fitted.to_json()}), **self.estimate.to_json()}

    def __repr__(self) -> str:
        from cbalign.render.plan import plan_blocks
        from cbalign.runtime.table import plain_text, unstyled

        return unstyled(plain_text(plan_blocks(self.estimate, self.fitted, ())))

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def plan(
    source: SpecSource,
    /,
    *,
    devices: int = 1,
    gpus: str | Sequence[str] = (),
    fit: str | None = None,
    pairs: int | None = None,
    **changes: Any,
) -> Plan:
    """Plan a training: parameters, operations, memory, steps, hours, disk. No weights are allocated.

    Args:
        source: the spec, as `cbalign.spec` takes it; its data files need not exist.
        devices: number of devices that train together.
        gpus: names of GPUs to estimate hours for, such as `h100-80gb`.
        fit: name of a GPU; the plan is of the largest `train.batch_size` that fits its memory.
        pairs: size of the training data; counted where the data are available.
        **changes: see `cbalign.spec`.

    Raises:
        SpecError: the spec is not valid.
        UsageError: a GPU is not known.
    """
    from cbalign.lab.plan.gpus import gpu_named

    wanted = None if fit is None else gpu_named(fit)
    devices, pairs = whole("devices", devices, 1), None if pairs is None else whole("pairs", pairs, 1)
    named = [gpu_named(name) for name in listed(gpus)]
    loaded = (source if isinstance(source, Spec) and not changes else spec(source, check_files=False, **changes)).loaded
    from cbalign.lab.plan.fit import fit_batch
    from cbalign.lab.plan.plan import Planner

    planner = Planner(loaded, devices=devices, pairs=pairs)
    if wanted is None:
        return Plan(planner.plan(named))
    fitted = fit_batch(planner, wanted, [gpu for gpu in named if gpu != wanted])
    return Plan(fitted.plan, fitted)
