"""Convert the settings of open_clip: those of a run (`open_clip_settings`) or a JSON model configuration."""

from __future__ import annotations

import re

from cbalign.experiment.document import Data, MapNode
from cbalign.interop.albef import adamw, epochs
from cbalign.interop.open_clip_towers import text_tower, vision_tower
from cbalign.interop.rules import Migration, Rule, Unfit

TOOL = "open_clip"

_LAUNCH = "a spec does not say how a run is launched and logged"
_LAUNCHING = (
    *("logs", "log_local", "log_path", "log_level", "report_to", "tensorboard", "tensorboard_path", "checkpoint_path"),
    *("wandb", "wandb_notes", "wandb_project_name", "debug", "copy_codebase", "rank", "local_rank", "distributed"),
    *("dist_url", "dist_backend", "horovod", "no_set_device_rank", "ddp_static_graph", "save_most_recent", "save_logs"),
    *("delete_previous_checkpoint", "remote_sync", "remote_sync_frequency", "remote_sync_protocol", "trace"),
    *("torchcompile", "torchcompile_strategy", "zeroshot_frequency", "cache_dir", "train_num_samples"),
    *("nproc_per_node", "nnodes", "node_rank", "master_addr", "master_port"),
    *("val_num_samples", "local_loss", "gather_with_grad", "log_metric_every_n_steps", "train_loss_ema_samples"),
)


def recognises(tree: MapNode) -> bool:
    """Whether this is a JSON model configuration of open_clip."""
    return {"vision_cfg", "text_cfg"} <= tree.entries.keys()


def _precision(name: Data) -> Data:
    kinds = {"amp_bf16": "bf16", "amp_bfloat16": "bf16", "amp": "bf16", "fp32": "fp32"}
    if name not in kinds:
        raise Unfit("cbalign trains in fp32 or with bf16 autocast; bf16 is used")
    return kinds[str(name)]


def _schedule(name: Data) -> Data:
    kinds = {"cosine": "cosine", "const": "constant"}
    if name not in kinds:
        raise Unfit("cbalign has cosine and constant schedules; cosine is used")
    return kinds[str(name)]


def _steps(count: Data) -> Data:
    return f"{count} steps"


def _crop(scale: Data) -> Data:
    if not (isinstance(scale, list) and len(scale) == 2):
        raise Unfit("not a range of two fractions")
    return [float(str(fraction)) for fraction in scale]


RULES = (
    Rule("batch_size", "train.batch_size", remark="per GPU"),
    Rule("epochs", "train.duration", epochs),
    Rule("lr", "train.optimizer.lr"),
    Rule("eps", "train.optimizer.eps"),
    Rule("wd", "train.optimizer.weight_decay"),
    Rule("opt", "train.optimizer.kind", adamw),
    Rule("lr_scheduler", "train.schedule.kind", _schedule),
    Rule("warmup", "train.schedule.warmup", _steps),
    Rule("lr_cooldown_end", unless=0.0, remark="cbalign has no cool-down"),
    Rule("lr_cooldown_power", unless=1.0, remark="cbalign has no cool-down"),
    Rule("grad_clip_norm", "train.clip_norm", unless=None),
    Rule("precision", "train.precision", _precision),
    Rule("seed", "train.seed"),
    Rule("device", "train.device", lambda name: "cuda" if str(name).startswith("cuda") else "cpu"),
    Rule("workers", "data.workers"),
    Rule("log_every_n_steps", "train.log_every", _steps),
    Rule("save_frequency", "train.checkpoint_every", epochs),
    Rule("val_frequency", "train.evaluate_every", epochs),
    Rule("aug_cfg.scale", "data.augmentation.crop_scale", _crop),
    Rule("skip_scheduler", unless=False, remark="set train.schedule: {kind: constant}"),
    Rule("train_data_upsampling_factors", unless=None, remark="cbalign does not upsample sources"),
    Rule("siglip", unless=False, remark="cbalign's contrastive loss is a softmax"),
    Rule("pretrained", unless="", remark="a spec contains no weights"),
    *(Rule(name, remark=_LAUNCH, unless=None) for name in _LAUNCHING),
)


def migrate(tree: MapNode) -> Migration:
    """Convert open_clip's settings to a spec: its towers and its contrastive loss."""
    migration = Migration(TOOL, tree)
    migration.put("name", "open-clip")
    if (given := migration.value("name")) is not None:
        migration.carry("name", "name", re.sub(r"[^A-Za-z0-9._-]+", "-", str(given)).strip("-._") or "open-clip")
    migration.apply(RULES)
    vision_tower(migration)
    text_tower(migration)
    _data(migration)
    _objectives(migration)
    if not recognises(tree):
        _training(migration)
    migration.drop_the_rest("no counterpart in cbalign")
    return migration


def _betas(migration: Migration) -> None:
    first, second = migration.value("beta1"), migration.value("beta2")
    if first is not None and second is not None:
        migration.carry("beta1", "train.optimizer.betas", [first, second])
        migration.carry("beta2", "train.optimizer.betas", [first, second])
    is_transformer = "vit" in str(migration.value("model")).lower()
    migration.assume("train.optimizer.betas", [0.9, 0.98 if is_transformer else 0.999], "get_default_params")
    migration.assume("train.optimizer.eps", 1e-6 if is_transformer else 1e-8, "get_default_params")


def _accumulation(migration: Migration) -> None:
    each, world, times = (migration.value(key) for key in ("batch_size", "world_size", "accum_freq"))
    if isinstance(each, int) and isinstance(world, int):
        total = each * world * (times if isinstance(times, int) else 1)
        migration.carry("world_size", "train.global_batch_size", total, "batch_size × world_size × accum_freq")
        migration.apply([Rule("accum_freq", "train.global_batch_size", lambda _: total)])
    migration.apply(
        [Rule("accum_freq", unless=1, remark="set train.global_batch_size, the number of pairs over all GPUs")]
    )


def _data(migration: Migration) -> None:
    kind = migration.value("dataset_type")
    for key, split in (("train_data", "train"), ("val_data", "validation")):
        given = migration.value(key)
        if not isinstance(given, str) or not given:
            continue
        is_csv = kind == "csv" or (kind in (None, "auto") and given.endswith((".csv", ".tsv")))
        if is_csv:
            migration.carry(key, f"data.{split}.files", [given])
            migration.assume(f"data.{split}.source", "csv", "dataset_type")
            for option, name, default in (
                ("csv_img_key", "image", "filepath"),
                ("csv_caption_key", "caption", "title"),
                ("csv_separator", "delimiter", "\t"),
            ):
                if (column := migration.value(option)) is not None:
                    migration.carry(option, f"data.{split}.{name}", column)
                migration.assume(f"data.{split}.{name}", default, f"--{option.replace('_', '-')}")
        elif given.startswith("pipe:"):
            migration.drop(key, "cbalign reads shards from files, not from a command")
        else:
            migration.carry(key, f"data.{split}.shards", list(given.split("::")))
            migration.assume(f"data.{split}.source", "webdataset", "dataset_type")
    migration.settle("csv_img_key", "csv_caption_key", "csv_separator")
    if kind in ("csv", "webdataset", "auto"):
        migration.settle("dataset_type")
    migration.assume("data.train.source", "webdataset", "the configuration names no data")
    if migration.data()["data"] == {"train": {"source": "webdataset"}}:
        migration.assume("data.train.shards", ["data/00000.tar"], "the configuration names no data")
    if isinstance(migration.value("val_data"), str) and migration.value("val_data"):
        migration.assume(
            "evaluate", [{"kind": "retrieval", "on": "validation", "protocols": ["dual"]}], "its validation data"
        )


def _objectives(migration: Migration) -> None:
    migration.assume("objectives.contrastive.intra_modal", False, "image with text only")
    migration.assume("objectives.contrastive.positives", "pair", "the diagonal of the batch")
    for term in ("codebook", "matching", "masked_language"):
        migration.assume(f"objectives.{term}.weight", 0.0, "open_clip has one loss")
    migration.assume("model.queue.length", 0, "no queue")
    migration.assume("model.teacher.momentum", 0.0, "no momentum teacher")
    migration.assume("model.teacher.distillation", 0.0, "no distillation")
    migration.lack(
        "the contrastive loss",
        "open_clip's gradients flow through both sides of a pair, cbalign's through the student's only",
    )


def _training(migration: Migration) -> None:
    """Set what a run does, and the defaults of flags that were not given."""
    _betas(migration)
    _accumulation(migration)
    for path, value, flag in (
        ("train.batch_size", 64, "batch-size"),
        ("train.duration", "32 epochs", "epochs"),
        ("train.optimizer.lr", 5e-4, "lr"),
        ("train.optimizer.weight_decay", 0.2, "wd"),
        ("train.schedule.warmup", "10000 steps", "warmup"),
        ("data.workers", 4, "workers"),
    ):
        migration.assume(path, value, f"the default of --{flag}")
    migration.assume("model.temperature.minimum", 0.01, "logit_scale is at most 100")
    migration.assume("data.augmentation.crop_scale", [0.9, 1.0], "image_transform")
    migration.assume("data.augmentation.flip", False, "image_transform")
    migration.assume("data.augmentation.randaugment.operations", 0, "image_transform")
    migration.assume("data.augmentation.two_views", False, "one view")
    migration.assume("train.schedule.warmup_lr", 0.0, "cosine_lr")
    if migration.value("lr_scheduler") != "const":
        migration.assume("train.schedule.final_lr", 0.0, "cosine_lr")
