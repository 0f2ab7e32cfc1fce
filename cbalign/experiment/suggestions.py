"""Suggestions for unknown names: similar names, the same name elsewhere, and names of other tools."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from cbalign.experiment.fields import every, settings
from cbalign.experiment.shapes import Leaf
from cbalign.parts.section import Section

# Names of other tools for our settings.
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

# Names of other tools for settings of the same section.
NEIGHBOURS = {"depth": "layers", "num_layers": "layers", "num_hidden_layers": "layers", "hidden_size": "width"}


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return a question that suggests the closest name of `known`, or `None`."""
    near = closest(word, known)
    return f"did you mean `{near}`?" if near else None


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the name of `known` that is most similar to `word`, if any is similar."""
    names = list(known)
    by_lower = {name.lower(): name for name in reversed(names)}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def meant_setting(root: type[Section], section: type[Section], path: str, name: str) -> str | None:
    """Suggest a setting for an unknown key `name` in a section.

    Args:
        root: the section of a whole spec.
        section: the section with the unknown key.
        path: dotted path of that section.
        name: the key.
    """
    here = list(settings(section))
    if ":" in name:
        return "a colon needs a space after it: `key: value`"
    if name in ("extends", "profiles"):
        return f"`{name}` belongs at the top of a file, not inside a section"
    if NEIGHBOURS.get(name) in here:
        return f"cbalign calls it `{NEIGHBOURS[name]}`"
    near = closest(name, here)
    if near and _likeness(name, near) > 0.8:
        return f"did you mean `{near}`?"
    return _elsewhere(root, path, name) or (f"did you mean `{near}`?" if near else _anywhere(root, here, name))


def _elsewhere(root: type[Section], path: str, name: str) -> str | None:
    """Suggest the section that has this name, or the setting that other tools call so."""
    own = f"{path}.{name}" if path else name
    namesakes = [found for found in every(root) if found.path.rsplit(".", 1)[-1] == name]
    kinds = [found.variant for found in namesakes if found.path.replace(".[]", "") == own and found.variant]
    if kinds:
        return f"`{name}` belongs to another kind of {path}: {', '.join(kinds)}"
    owners = list(dict.fromkeys(found.path.replace(".[]", "").rpartition(".")[0] for found in namesakes))
    if 0 < len(owners) <= 3:
        return f"`{name}` belongs to {' or '.join(owner or 'the top of the spec' for owner in owners)}"
    synonym = closest(name, SYNONYMS)
    if synonym and _likeness(name, synonym) > 0.8:
        owner, _, ours = SYNONYMS[synonym].rpartition(".")
        return f"cbalign calls it `{ours if owner == path else SYNONYMS[synonym]}`"
    return None


def _anywhere(root: type[Section], here: list[str], name: str) -> str | None:
    leaves = {
        found.path.rsplit(".", 1)[-1]: found.path for found in every(root) if isinstance(found.setting.shape, Leaf)
    }
    near = closest(name, leaves)
    if near and _likeness(name, near) > 0.8:
        return f"did you mean `{leaves[near].replace('.[]', '')}`?"
    return f"it has {', '.join(here)}" if len(here) <= 16 else None


def _likeness(word: str, other: str) -> float:
    return difflib.SequenceMatcher(None, word.lower(), other.lower()).ratio()
