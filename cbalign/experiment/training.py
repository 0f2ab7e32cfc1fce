"""The `train` section: length, batch, optimiser, schedule, precision, checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from cbalign.experiment.unions import union, usable
from cbalign.parts import Effect, RuleError, ScheduleSection, Section, setting
from cbalign.parts.duration import Duration, amount_and_unit
from cbalign.parts.registry import SCHEDULES
from cbalign.parts.section import subsection

TRAINING, RUNTIME = Effect.TRAINING, Effect.RUNTIME

if TYPE_CHECKING:
    Schedule = ScheduleSection
else:
    Schedule = union(SCHEDULES)


class AdamWSection(Section):
    """AdamW."""

    kind: Literal["adamw"] = setting("adamw", effect=TRAINING, help="Optimiser.")
    lr: float = setting(1e-4, gt=0, effect=TRAINING, help="Peak learning rate.", paper="1e-4 (ALBEF)")
    weight_decay: float = setting(
        0.02,
        ge=0,
        effect=TRAINING,
        help="Weight decay of matrices; vectors, scalars and prototypes are not decayed, but see "
        "`model.temperature.decayed`.",
        paper="0.02 (ALBEF)",
    )
    vision_lr_scale: float = setting(1.0, gt=0, effect=TRAINING, help="Learning-rate factor of the image tower.")
    text_lr_scale: float = setting(
        1.0,
        gt=0,
        effect=TRAINING,
        help="Learning-rate factor of the text tower; small if only the text tower is pretrained.",
    )
    betas: tuple[float, float] = setting((0.9, 0.999), effect=TRAINING, help="Moment coefficients.")
    eps: float = setting(1e-8, gt=0, effect=TRAINING, help="Term added to the denominator.")

    @model_validator(mode="after")
    def _betas_below_one(self) -> AdamWSection:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise RuleError(f"betas {list(self.betas)} must both be at least 0 and below 1", at=("betas",))
        return self


def kept_checkpoints(train: TrainSection) -> int:
    """Return the number of checkpoints that a finished run has at most."""
    return train.keep_checkpoints + (train.keep_best is not None)


class TrainSection(Section):
    """The training of the model."""

    duration: Duration = setting(
        "30 epochs", effect=TRAINING, help="Length of the training.", paper="30 epochs (ALBEF)"
    )
    batch_size: int = setting(
        64, ge=1, le=1_000_000, effect=TRAINING, help="Pairs per device and forward pass.", paper="64 on 8 GPUs (ALBEF)"
    )
    global_batch_size: int | None = setting(
        None,
        ge=1,
        le=1_000_000_000,
        effect=TRAINING,
        help="Pairs per optimiser step over all devices, reached by gradient accumulation; null: no accumulation.",
        paper="512 (ALBEF)",
    )
    optimizer: AdamWSection = subsection(AdamWSection, help="The optimiser.")
    schedule: Schedule = subsection(usable(SCHEDULES)["cosine"], help="The learning rate over time.")
    clip_norm: float | None = setting(
        None,
        gt=0,
        effect=TRAINING,
        help="Clip gradients to this global norm; null: no clipping.",
        paper="none (ALBEF)",
    )
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto",
        effect=TRAINING,
        help="Precision of forward and backward (autocast); `auto`: bf16 if the hardware supports it, else fp32.",
    )
    seed: int = setting(
        0, ge=0, lt=2**31, effect=TRAINING, help="Seed of initial values, data order, augmentation and dropout."
    )
    device: str = setting(
        "auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]{1,4})?)$",
        examples=["auto", "cpu", "cuda", "cuda:1"],
        effect=RUNTIME,
        help="`auto` uses a GPU if available; `cuda` fails without one.",
    )
    parallel: Literal["ddp", "fsdp2"] = setting(
        "ddp",
        effect=RUNTIME,
        help="How processes share the work: each has the whole model (ddp), or a shard of the weights, gradients and "
        "moments (fsdp2), for models that do not fit on one device.",
    )
    feature_cache: Literal["auto", "off"] = setting(
        "auto",
        since="0.2",
        effect=RUNTIME,
        help="Keep the features of a frozen image tower on disk, so that an epoch costs the rest of the model only; "
        "`auto`: if the images have a fixed number of views (`data.augmentation.views`, or no augmentation).",
    )
    log_every: Duration = setting("10 steps", effect=RUNTIME, help="Interval between log lines of metrics.")
    evaluate_every: Duration | None = setting(
        "1 epoch", effect=RUNTIME, help="Interval between evaluations on the validation split; null: only at the end."
    )
    process_timeout: int = setting(
        1800,
        ge=1,
        le=10_000_000,
        since="0.2",
        effect=RUNTIME,
        help="Seconds that processes which train together wait for one another; then the training ends and names the "
        "process that hangs.",
    )
    checkpoint_every: Duration = setting("1 epoch", effect=RUNTIME, help="Interval between checkpoints.")
    keep_checkpoints: int = setting(
        2,
        ge=1,
        le=1_000_000,
        effect=RUNTIME,
        help="Number of checkpoints to keep; older ones are removed, except the best (`keep_best`).",
    )

    keep_best: str | None = setting(
        None,
        since="0.2",
        examples=["validation/accuracy", "validation/rerank/*/r*"],
        effect=RUNTIME,
        help="Also keep the checkpoint with the best value of this metric, by its name, the end of its name, or a "
        "pattern with `*`, whose metrics are averaged. Larger is better, except for ranks, losses and errors. The "
        "checkpoint is written after the evaluation; `keep_checkpoints` does not count it.",
        paper="ALBEF's code reports the epoch that is best on validation: `validation/rerank/*/r*` in retrieval, "
        "`validation/accuracy` in NLVR2 and SNLI-VE",
    )

    @model_validator(mode="after")
    def _whole_accumulation(self) -> TrainSection:
        total, each = self.global_batch_size, self.batch_size
        if total is not None and total % each:
            nearest = max(1, round(total / each)) * each
            raise RuleError(
                f"global_batch_size {total} is not a multiple of batch_size {each}; nearest {nearest}",
                at=("global_batch_size", "batch_size"),
            )
        return self

    @model_validator(mode="after")
    def _durations_make_sense(self) -> TrainSection:
        for name in ("duration", "log_every", "evaluate_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and amount_and_unit(value)[0] == 0:
                raise RuleError(f"{name} must be above 0, not {value!r}", at=(name,))
        (length, unit), (warmup, warmup_unit) = amount_and_unit(self.duration), amount_and_unit(self.schedule.warmup)
        if unit == "%":
            raise RuleError(f"duration must be in steps or epochs, not {self.duration!r}", at=("duration",))
        if warmup > (100 if warmup_unit == "%" else length) and warmup_unit in (unit, "%"):
            raise RuleError(
                f"the warm-up (train.schedule.warmup: {self.schedule.warmup}) is longer than the training "
                f"(train.duration: {self.duration})",
                at=("schedule.warmup", "schedule", "duration"),
            )
        return self
