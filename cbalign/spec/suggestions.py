"""What someone probably meant: near names, the same name elsewhere, and what other tools call it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from cbalign.spec.fields import Leaf, every, settings
from cbalign.spec.section import Section

# What other tools call our settings.
SYNONYMS = {
    "learning_rate": "train.optimizer.lr",
    "base_lr": "train.optimizer.lr",
    "init_lr": "train.optimizer.lr",
    "wd": "train.optimizer.weight_decay",
    "epochs": "train.duration",
    "max_epochs": "train.duration",
    "num_epochs": "train.duration",
    "steps": "train.duration",
    "max_steps": "train.duration",
    "accumulation": "train.global_batch_size",
    "grad_accumulation": "train.global_batch_size",
    "gradient_accumulation_steps": "train.global_batch_size",
    "grad_clip": "train.clip_norm",
    "max_grad_norm": "train.clip_norm",
    "schedular": "train.schedule",
    "scheduler": "train.schedule",
    "warmup_epochs": "train.schedule.warmup",
    "warmup_steps": "train.schedule.warmup",
    "min_lr": "train.schedule.final_lr",
    "num_workers": "data.workers",
    "image_res": "model.vision.image_size",
    "embed_dim": "model.joint_dim",
    "queue_size": "model.queue.length",
    "codebook_size": "model.codebook.size",
    "num_codes": "model.codebook.size",
    "temp": "model.temperature.initial",
    "alpha": "model.teacher.distillation",
    "mlm_probability": "objectives.masked_language.probability",
    "k_test": "evaluate.top_k",
}


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A question that names what of `known` is near to `word`, or `None`."""
    near = closest(word, known)
    return f"did you mean `{near}`?" if near else None


def closest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that is most like `word`, if any is."""
    names = list(known)
    by_lower = {name.lower(): name for name in reversed(names)}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def meant_setting(root: type[Section], section: type[Section], path: str, name: str) -> str | None:
    """What an unknown key `name` at the section `path` was probably meant to be."""
    here = list(settings(section))
    near = closest(name, here)
    if near and difflib.SequenceMatcher(None, name.lower(), near).ratio() > 0.8:
        return f"did you mean `{near}`?"
    elsewhere = [found.path.replace(".[]", "") for found in every(root) if found.path.rsplit(".", 1)[-1] == name]
    elsewhere = list(dict.fromkeys(other for other in elsewhere if other != f"{path}.{name}".lstrip(".")))
    if name in ("extends", "profiles"):
        return f"`{name}` stands at the top of a file, not inside a section"
    if 0 < len(elsewhere) <= 3:
        owners = [other.rpartition(".")[0] or "the top of the spec" for other in elsewhere]
        return f"`{name}` belongs to {' or '.join(owners)}"
    if name.lower() in SYNONYMS:
        return f"cbalign calls it `{SYNONYMS[name.lower()]}`"
    if near:
        return f"did you mean `{near}`?"
    anywhere = closest(name, {f.path.rsplit(".", 1)[-1] for f in every(root) if isinstance(f.setting.shape, Leaf)})
    if anywhere and difflib.SequenceMatcher(None, name, anywhere).ratio() > 0.8:
        owner = next(f.path for f in every(root) if f.path.rsplit(".", 1)[-1] == anywhere)
        return f"did you mean `{owner.replace('.[]', '')}`?"
    if ":" in name:
        return "a colon needs a space after it: `key: value`"
    return f"it knows {', '.join(here)}" if len(here) <= 12 else None
