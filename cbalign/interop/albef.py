"""Convert ALBEF's configurations: `configs/*.yaml` of its repository at commit b9727e4."""

from __future__ import annotations

from cbalign.experiment.document import Data, MapNode
from cbalign.interop.rules import Migration, Rule, Unfit

TOOL = "ALBEF"
STEPS_PER_WARMUP_EPOCH = (
    100  # Pretrain.py and its siblings: step_size = 100; warmup_iterations = warmup_steps*step_size
)

# Tasks by name: the kind of task in cbalign, and the source that reads its lists.
TASKS = {
    "pretraining": ("pretrain", "json"),
    "retrieval": ("retrieval", "json"),
    "visual question answering": ("vqa", "albef-vqa"),
    "NLVR2": ("nlvr2", "nlvr2"),
    "visual entailment": ("entailment", "snli-ve"),
    "text assignment for NLVR2": ("nlvr2", "json"),
    "grounding": (None, "json"),
}


# The evaluation of each task, without the split.
EVALUATIONS: dict[str, dict[str, Data]] = {
    "retrieval": {"kind": "retrieval", "protocols": ["dual", "rerank"]},
    "visual question answering": {"kind": "vqa", "protocols": ["rank"]},
    "NLVR2": {"kind": "accuracy"},
    "visual entailment": {"kind": "accuracy"},
}


def recognises(tree: MapNode) -> bool:
    """Whether this is one of ALBEF's configurations."""
    return "schedular" in tree.entries or {"train_file", "image_res"} <= tree.entries.keys()


def warmup(epochs: Data) -> Data:
    """Convert `warmup_epochs: n`, which means n times 100 steps, all in the first epoch."""
    if isinstance(epochs, bool) or not isinstance(epochs, int | float):
        raise Unfit("not a number")
    return f"{round(epochs * STEPS_PER_WARMUP_EPOCH)} steps"


def epochs(count: Data) -> Data:
    """Convert a number of epochs to a duration."""
    if isinstance(count, bool) or not isinstance(count, int | float):
        raise Unfit("not a number of epochs")
    return f"{count:g} epochs"


def adamw(name: Data) -> Data:
    """Convert the name of an optimiser; cbalign has AdamW only."""
    if str(name).lower() != "adamw":
        raise Unfit("cbalign trains with AdamW")
    return "adamw"


def _cosine(name: Data) -> Data:
    if name != "cosine":
        raise Unfit("cbalign has cosine and constant schedules; cosine is used")
    return "cosine"


def _ramp(ramps: Data) -> Data:
    return 1.0 if ramps else 0.0


RULES = (
    Rule("image_res", "model.vision.image_size"),
    Rule("vision_width", unless=768, remark="the width of a ViT-B is 768; set model.vision.width to change it"),
    Rule("embed_dim", "model.joint_dim"),
    Rule("temp", "model.temperature.initial"),
    Rule("queue_size", "model.queue.length"),
    Rule("momentum", "model.teacher.momentum"),
    Rule("alpha", "model.teacher.distillation"),
    Rule("warm_up", "model.teacher.ramp_epochs", _ramp, remark="ALBEF ramps alpha up over the first epoch"),
    Rule("mlm_probability", "objectives.masked_language.probability"),
    Rule("batch_size", "train.batch_size", remark="per GPU; ALBEF's README uses 8 GPUs"),
    Rule("batch_size_train", "train.batch_size", remark="per GPU; ALBEF's README uses 8 GPUs"),
    Rule("optimizer.opt", "train.optimizer.kind", adamw),
    Rule("optimizer.lr", "train.optimizer.lr"),
    Rule("optimizer.weight_decay", "train.optimizer.weight_decay"),
    Rule("schedular.sched", "train.schedule.kind", _cosine),
    Rule("schedular.epochs", "train.duration", epochs),
    Rule("schedular.min_lr", "train.schedule.final_lr"),
    Rule("schedular.warmup_lr", "train.schedule.warmup_lr"),
    Rule("schedular.warmup_epochs", "train.schedule.warmup", warmup, remark="ALBEF's unit is 100 steps, not an epoch"),
    Rule("schedular.decay_rate", unless=1, remark="the cosine has no decay rate"),
    Rule("schedular.cooldown_epochs", unless=0, remark="the cosine has no cool-down"),
    Rule("eval_ema", remark="ALBEF never reads it"),
)


def migrate(tree: MapNode) -> Migration:
    """Convert one of ALBEF's configurations to a spec."""
    migration = Migration(TOOL, tree)
    task = _task(migration)
    kind, source = TASKS[task]
    # Fine-tuning for retrieval is pretraining without masked words, on pairs with several captions per image.
    is_aligned = task in ("pretraining", "retrieval")
    migration.put("name", f"albef-{task.replace(' ', '-').lower()}")
    migration.apply(RULES)
    _distillation(migration)
    _learning_rate(migration)
    _bert(migration)
    _data(migration, task, source)
    if kind is None:
        migration.lack("the task", f"cbalign has no {task}; the spec has its model and training, on image-text pairs")
    elif kind != "pretrain":
        migration.assume("task.kind", kind, "the script that this configures")
    if task == "text assignment for NLVR2":
        migration.assume("task.stage", "text-assignment", "Pretrain_nlvr.py")
    migration.apply([Rule("answer_list", "task.answer_list", remark="relative to the spec")])
    if is_aligned or kind is None:
        objectives(migration, retrieval=task == "retrieval")
    if task in EVALUATIONS:
        _evaluation(migration, EVALUATIONS[task])
    migration.apply([Rule(key, remark=f"a setting of {task}") for key in ("k_test", "batch_size_test")])
    _code(migration, task)
    migration.drop_the_rest(f"a setting of {task} without a counterpart in cbalign")
    return migration


def _task(migration: Migration) -> str:
    """Find the script of a configuration by keys that only this script reads, or by the names of its lists."""
    keys = migration.tree.entries.keys()
    lists = str(migration.value("train_file")).lower()
    if "refcoco_data" in keys:
        return "grounding"
    if keys & {"answer_list", "vqa_root"}:
        return "visual question answering"
    if "eval_ema" in keys or "nlvr" in lists:
        return "NLVR2"
    if "k_test" in keys:
        return "retrieval"
    if "mlm_probability" in keys:
        return "pretraining"
    return "visual entailment" if "val_file" in keys else "text assignment for NLVR2"


def _distillation(migration: Migration) -> None:
    if migration.value("distill") is False:
        migration.carry("distill", "model.teacher.distillation", 0.0, "without distillation, alpha is not used")
    migration.apply([Rule("distill", unless=True)])


def _learning_rate(migration: Migration) -> None:
    same = migration.value("optimizer.lr")
    migration.apply([Rule("schedular.lr", unless=same, remark="ALBEF's optimiser reads optimizer.lr instead")])
    if migration.node("schedular.sched") is not None:
        migration.assume("train.schedule.updates", "epoch", "the training scripts change the rate once per epoch")


def _bert(migration: Migration) -> None:
    if migration.node("bert_config") is not None:
        remark = "the published config_bert.json: 12 layers, the last 6 of them for fusion"
        migration.carry("bert_config", "model.text.layers", 6, remark)
    migration.assume("model.text.architecture", "bert-base-uncased", "--text_encoder")
    migration.assume("model.text.layers", 6, "config_bert.json")
    migration.assume("model.fusion.layers", 6, "config_bert.json")


def _data(migration: Migration, task: str, source: str) -> None:
    for key, split in (("train_file", "train"), ("val_file", "validation"), ("test_file", "test")):
        value = migration.value(key)
        if value is None:
            continue
        files: Data = value if isinstance(value, list) else [value]
        migration.carry(key, f"data.{split}.files", files, "relative to the spec, not to the working directory")
        migration.assume(f"data.{split}.source", source, "the format of its lists")
        if migration.node("image_root") is not None:
            migration.carry("image_root", f"data.{split}.root", migration.value("image_root"))
        elif migration.node("vqa_root") is not None:
            migration.carry("vqa_root", f"data.{split}.root", migration.value("vqa_root"))
            if migration.node("vg_root") is not None:
                migration.carry("vg_root", f"data.{split}.genome_root", migration.value("vg_root"))
    if migration.node("train_file") is None:
        files = ["train.json"]
        migration.assume("data.train.files", files, "the configuration lists no files")
        migration.assume("data.train.source", source, "the format of its lists")
    elif task in ("pretraining", "text assignment for NLVR2"):
        migration.lack(
            "the images", "paths in these lists are absolute; set data.train.root to a folder that contains all images"
        )


def objectives(migration: Migration, *, retrieval: bool) -> None:
    """Set the terms of ALBEF's loss, in pretraining or in fine-tuning for retrieval."""
    migration.assume("objectives.codebook.weight", 0.0, "no codebook")
    migration.assume("objectives.contrastive.intra_modal", False, "image with text only")
    positives = "image" if retrieval else "pair"
    migration.assume("objectives.contrastive.positives", positives, "definition of a positive")
    migration.assume("objectives.matching.positives", positives, "what is never a negative")
    migration.assume("objectives.contrastive.contrast_over", "batch", "features of the same GPU and the queue")
    if retrieval:
        migration.assume("objectives.masked_language.weight", 0.0, "no masked language modelling in fine-tuning")


def _evaluation(migration: Migration, kind: dict[str, Data]) -> None:
    """Add the evaluations of each split."""
    splits = [split for split in ("validation", "test") if migration.written(f"data.{split}") is not None]
    measured: list[Data] = [{**kind, "on": split} for split in splits]
    migration.assume("evaluate", measured, "the evaluation in its script")
    for number in range(len(splits)):
        for key, name in (("k_test", "top_k"), ("batch_size_test", "batch_size")):
            applies = name == "batch_size" or "protocols" in kind
            if applies and (value := migration.value(key)) is not None:
                migration.carry(key, f"evaluate.{number}.{name}", value)


def _code(migration: Migration, task: str) -> None:
    """Set the values that are fixed in ALBEF's scripts."""
    first = task in ("pretraining", "text assignment for NLVR2")
    migration.assume("model.vision.architecture", "deit_base_patch16_224", "DeiT-B")
    migration.assume("model.vision.preprocessing.like", "albef", "CLIP's statistics, whole images squashed")
    if migration.node("temp") is not None:
        migration.assume("model.temperature.decayed", True, "weight decay of all but vectors and biases")
    migration.assume("model.text.max_tokens", 25 if first else 30, "max_length of the tokenizer")
    migration.assume("data.augmentation.crop_scale", [0.2 if first else 0.5, 1.0], "RandomResizedCrop")
    migration.assume("data.augmentation.two_views", False, "student and teacher see the same view")
    migration.assume("data.workers", 4, "num_workers")
    migration.assume("train.precision", "fp32", "no autocast")
    migration.assume("train.seed", 42, "--seed")
