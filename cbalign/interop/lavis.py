"""Convert LAVIS's project configurations of ALBEF: `lavis/projects/albef/**.yaml` with `model`, `datasets`, `run`."""

from __future__ import annotations

from cbalign.errors import UsageError
from cbalign.experiment.document import Data, MapNode
from cbalign.interop.albef import epochs, objectives
from cbalign.interop.rules import Migration, Rule, Unfit

TOOL = "LAVIS"

# Architectures: the kind of task in cbalign, and the source that reads its lists.
ARCHITECTURES = {
    "albef_pretrain": ("pretrain", "json"),
    "albef_retrieval": ("retrieval", "json"),
    "albef_vqa": ("vqa", "albef-vqa"),
    "albef_nlvr": ("nlvr2", "nlvr2"),
    "albef_classification": ("entailment", "snli-ve"),
}
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def recognises(tree: MapNode) -> bool:
    """Whether this is a project configuration of LAVIS."""
    model = tree.get("model")
    return isinstance(model, MapNode) and "arch" in model.entries and "run" in tree.entries


def _steps(count: Data) -> Data:
    if isinstance(count, bool) or not isinstance(count, int | float):
        raise Unfit("not a number of steps")
    return f"{count:g} steps"


def _vit(kind: Data) -> Data:
    if kind not in ("base", "large"):
        raise Unfit("cbalign supports LAVIS's vit_type base and large")
    return f"vit_{kind}_patch16_224"


def _schedule(name: Data) -> Data:
    if name != "linear_warmup_cosine_lr":
        raise Unfit("cbalign has no step decay; cosine is used instead")
    return "cosine"


_WEIGHTS = "a spec contains no weights; `cbalign import albef` imports published ones"
_LAUNCH = "set by torchrun when the training starts"

RULES = (
    Rule("model.model_type", remark=_WEIGHTS),
    Rule("model.load_pretrained", unless=False, remark=_WEIGHTS),
    Rule("model.load_finetuned", unless=False, remark=_WEIGHTS),
    Rule("model.pretrained", remark=_WEIGHTS),
    Rule("model.finetuned", remark=_WEIGHTS),
    Rule("model.vit_type", "model.vision.architecture", _vit),
    Rule("model.image_size", "model.vision.image_size"),
    Rule("model.vit_drop_path_rate", "model.vision.drop_path", lambda rate: float(str(rate))),
    Rule("model.vit_layer_norm_epsilon", unless=1e-6, remark="timm's vision transformers have 1e-6"),
    Rule("model.vit_grad_ckpt", unless=False, remark="cbalign has no activation checkpointing"),
    Rule("model.vit_ckpt_layer", unless=0, remark="cbalign has no activation checkpointing"),
    Rule(
        "model.med_config_path", "model.text.layers", lambda _: 6, remark="med_config_albef.json: fusion from layer 6"
    ),
    Rule("model.embed_dim", "model.joint_dim"),
    Rule("model.temp", "model.temperature.initial"),
    Rule("model.queue_size", "model.queue.length"),
    Rule("model.momentum", "model.teacher.momentum"),
    Rule("model.alpha", "model.teacher.distillation"),
    Rule("model.mlm_mask_prob", "objectives.masked_language.probability"),
    Rule("model.max_txt_len", "model.text.max_tokens"),
    Rule("run.lr_sched", "train.schedule.kind", _schedule),
    Rule("run.init_lr", "train.optimizer.lr"),
    Rule("run.min_lr", "train.schedule.final_lr"),
    Rule("run.warmup_lr", "train.schedule.warmup_lr"),
    Rule("run.warmup_steps", "train.schedule.warmup", _steps, remark="LAVIS raises the rate at every step"),
    Rule("run.weight_decay", "train.optimizer.weight_decay"),
    Rule("run.max_epoch", "train.duration", epochs),
    Rule("run.batch_size_train", "train.batch_size", remark="per GPU"),
    Rule("run.num_workers", "data.workers"),
    Rule("run.seed", "train.seed"),
    Rule("run.device", "train.device"),
    Rule("run.amp", "train.precision", lambda on: "bf16" if on else "fp32", remark="LAVIS's amp is fp16"),
    Rule("run.log_freq", "train.log_every", _steps),
    Rule(
        "run.accum_grad_iters",
        unless=1,
        remark="set train.global_batch_size; cbalign accumulates gradients to reach it",
    ),
    Rule("run.output_dir", remark="an option of the command: cbalign train --runs-dir"),
    Rule("run.evaluate", unless=False, remark="a separate command: cbalign evaluate"),
    Rule("run.train_splits", unless=["train"], remark="the training split is data.train"),
    Rule("run.world_size", remark=_LAUNCH),
    Rule("run.dist_url", remark=_LAUNCH),
    Rule("run.distributed", remark=_LAUNCH),
    Rule("run.use_dist_eval_sampler", unless=False, remark="cbalign always shards evaluation over processes"),
    Rule("run.resume_ckpt_path", remark="resume a run with: cbalign train RUN"),
)


def migrate(tree: MapNode) -> Migration:
    """Convert a project configuration of LAVIS to a spec.

    Raises:
        UsageError: the model is not ALBEF.
    """
    migration = Migration(TOOL, tree)
    arch = str(migration.value("model.arch"))
    if arch not in ARCHITECTURES:
        raise UsageError(
            f"cbalign cannot train LAVIS's model.arch {arch}.",
            remedy=f"These architectures can be converted: {', '.join(ARCHITECTURES)}.",
        )
    kind, source = ARCHITECTURES[arch]
    is_aligned = arch in ("albef_pretrain", "albef_retrieval")
    migration.put("name", arch.replace("_", "-"))
    migration.settle("model.arch")
    migration.apply(RULES)
    migration.apply([Rule("run.lr_decay_rate", remark="only a step decay has a rate")])
    _data(migration, source)
    if kind != "pretrain":
        migration.assume("task.kind", kind, f"run.task of {arch}")
    if is_aligned:
        objectives(migration, retrieval=arch == "albef_retrieval")
    if arch == "albef_retrieval":
        _evaluation(migration)
    migration.settle("run.task")
    migration.apply([Rule("run.batch_size_eval", remark="`evaluate` of the spec is empty")])
    _code(migration, arch)
    migration.drop_the_rest("no counterpart in cbalign")
    return migration


def _data(migration: Migration, source: str) -> None:
    """Set the files. Configurations may leave them to LAVIS's dataset builders; then the paths are placeholders."""
    datasets = migration.node("datasets")
    names = list(datasets.entries) if isinstance(datasets, MapNode) else []
    sizes = [migration.value(f"datasets.{name}.vis_processor.train.image_size") for name in names]
    size = next((each for each in sizes if isinstance(each, int)), None)
    if size is not None and migration.node("model.image_size") is None:
        where = f"datasets.{names[sizes.index(size)]}.vis_processor.train.image_size"
        migration.carry(where, "model.vision.image_size", size)
    for split in ("train", *_wanted(migration)):
        files: list[Data] = []
        for name in names:
            given = migration.value(f"datasets.{name}.build_info.annotations.{split}.storage")
            some = given if isinstance(given, list) else [given] if given else []
            files += some or [f"data/{name}/{split}.json"]
        path = f"data.{_SPLITS[split]}"
        if names:
            migration.carry(
                "datasets", f"{path}.files", files, "LAVIS's dataset builders name the files; place them here"
            )
        else:
            migration.assume(f"{path}.files", [f"data/{split}.json"], "the configuration names no datasets")
        migration.assume(f"{path}.source", source, "the format of its annotations")
        migration.assume(f"{path}.root", _root(migration, names), "the image folder of its builders")


def _root(migration: Migration, names: list[str]) -> Data:
    given = (migration.value(f"datasets.{name}.build_info.images.storage") for name in names)
    return next((each for each in given if isinstance(each, str)), "data")


def _wanted(migration: Migration) -> list[str]:
    """Return the evaluated splits that cbalign has."""
    asked = [migration.value(key) for key in ("run.valid_splits", "run.test_splits")]
    named = [str(split) for each in asked if isinstance(each, list) for split in each]
    return list(dict.fromkeys(split for split in named if split in ("val", "test")))


def _evaluation(migration: Migration) -> None:
    splits = _wanted(migration)
    measured: list[Data] = [
        {"kind": "retrieval", "on": _SPLITS[split], "protocols": ["dual", "rerank"]} for split in splits
    ]
    migration.assume("evaluate", measured, "the task retrieval")
    for number, split in enumerate(splits):
        key = "run.valid_splits" if split in str(migration.value("run.valid_splits")) else "run.test_splits"
        migration.carry(key, f"evaluate.{number}.on", _SPLITS[split])
        for key, name in (("run.k_test", "top_k"), ("run.batch_size_eval", "batch_size")):
            if (value := migration.value(key)) is not None:
                migration.carry(key, f"evaluate.{number}.{name}", value)
    migration.settle("run.valid_splits", "run.test_splits")


def _code(migration: Migration, arch: str) -> None:
    """Set the defaults of LAVIS's code and of its `configs/models/albef_*.yaml`."""
    migration.assume("model.vision.architecture", "vit_base_patch16_224", "vit_type base")
    migration.assume("model.vision.preprocessing.like", "albef", "CLIP's statistics, whole images squashed")
    migration.assume("model.text.architecture", "bert-base-uncased", "its tokenizer and weights")
    migration.assume("model.text.layers", 6, "med_config_albef.json")
    migration.assume("model.fusion.layers", 6, "med_config_albef.json")
    migration.assume("model.text.max_tokens", 30, "max_txt_len")
    migration.assume("model.text.max_words", 50, "blip_caption")
    migration.assume("model.text.closing_sep", True, "unlike ALBEF's own")
    migration.assume("data.augmentation.crop_scale", [0.5, 1.0], "blip_image_train")
    migration.assume("data.augmentation.two_views", False, "student and teacher see the same view")
    migration.assume("train.schedule.kind", "cosine", "lr_sched")
    migration.assume("train.schedule.updates", "epoch", "LAVIS lowers the rate once per epoch")
    migration.assume("train.schedule.warmup", "0 steps", "warmup_steps")
    rate = migration.value("run.init_lr")
    if rate is not None:
        migration.assume("train.schedule.warmup_lr", rate, "without warmup_lr, the warm-up starts at init_lr")
    migration.assume("model.teacher.ramp_epochs", 2.0, "alpha ramps up over two epochs")
    migration.assume("train.precision", "fp32", "amp is off")
