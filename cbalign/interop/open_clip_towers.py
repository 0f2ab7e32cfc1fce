"""Convert the towers of open_clip: those of a JSON model configuration, or of a model that it knows by name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cbalign.interop.rules import Migration, Rule

# Names of its built-in configurations: patch size, layers, width, image size of the vision transformer.
_NAMED_VIT = re.compile(r"ViT-(?P<size>[SBLHgG])-(?P<patch>\d+)(?:-(?P<image>\d+))?(?:-quickgelu)?\Z")
_SIZES = {"S": (12, 384), "B": (12, 768), "L": (24, 1024), "H": (32, 1280)}
_TEXTS = {"S": (12, 384), "B": (12, 512), "L": (12, 768), "H": (24, 1024)}

_RESNETS: dict[tuple[object, ...], str] = {
    (3, 4, 6, 3): "resnet50_clip",
    (3, 4, 23, 3): "resnet101_clip",
    (4, 6, 10, 6): "resnet50x4_clip",
    (6, 8, 18, 8): "resnet50x16_clip",
    (3, 15, 36, 10): "resnet50x64_clip",
}
"""timm's names of CLIP's ResNets by their numbers of blocks."""


def vision_tower(migration: Migration) -> None:
    """Convert the settings of the vision tower: one of timm, a ResNet of CLIP, or a vision transformer."""
    architecture = "vit_base_patch16_224"
    if (named := migration.value("vision_cfg.timm_model_name")) is not None:
        migration.carry("vision_cfg.timm_model_name", "model.vision.architecture", named)
        if migration.value("vision_cfg.timm_model_pretrained") is True:
            migration.carry("vision_cfg.timm_model_pretrained", "model.vision.init", "pretrained")
    elif isinstance(layers := migration.value("vision_cfg.layers"), list):
        _resnet(migration, layers)
    elif migration.node("vision_cfg") is not None:
        migration.apply(
            [
                Rule("vision_cfg.layers", "model.vision.layers"),
                Rule("vision_cfg.width", "model.vision.width"),
                Rule("vision_cfg.patch_size", "model.vision.patch_size"),
            ]
        )
        _heads(migration)
    elif (match := _NAMED_VIT.match(str(migration.value("model")))) and match["size"] in _SIZES:
        layers, width = _SIZES[match["size"]]
        for name, value in (("layers", layers), ("width", width), ("patch_size", int(match["patch"]))):
            migration.carry("model", f"model.vision.{name}", value)
        migration.assume("model.vision.heads", width // 64, "heads of width 64")
        migration.assume("model.vision.image_size", int(match["image"] or 224), "image_size of that model")
    elif migration.node("model") is not None:
        migration.drop("model", "convert its JSON model configuration to get its towers")
    forced = migration.value("force_image_size")
    size = forced[0] if isinstance(forced, list) and forced else forced
    if isinstance(size, int):
        migration.carry("force_image_size", "model.vision.image_size", size)
    migration.apply([Rule("vision_cfg.image_size", "model.vision.image_size")])
    migration.assume("model.vision.architecture", architecture, "a vision transformer")
    migration.assume("model.vision.image_size", 224, "image_size")
    migration.assume("model.vision.init", "random", "trained from scratch")
    migration.assume(
        "model.vision.preprocessing", {"like": "albef", "fit": "crop"}, "CLIP's statistics, image_transform"
    )


def _resnet(migration: Migration, layers: Sequence[object]) -> None:
    """Convert CLIP's ResNets, which timm has with the same pooling by attention."""
    found = _RESNETS.get(tuple(layers))
    if found is None:
        migration.drop("vision_cfg.layers", "a ResNet that timm does not have; set model.vision.architecture yourself")
        return
    migration.carry("vision_cfg.layers", "model.vision.architecture", found, "timm's form of this ResNet")
    for key in ("width", "heads", "patch_size"):
        migration.apply([Rule(f"vision_cfg.{key}", unless=None, remark="part of the architecture")])


def _heads(migration: Migration) -> None:
    width, each = migration.value("vision_cfg.width"), migration.value("vision_cfg.head_width") or 64
    if isinstance(width, int) and isinstance(each, int) and each > 0 and width % each == 0:
        migration.assume("model.vision.heads", width // each, "heads of width 64, unless head_width is set")
    migration.apply([Rule("vision_cfg.head_width", unless=64, remark="determines model.vision.heads")])


def text_tower(migration: Migration) -> None:
    """Convert the settings of the text tower: a BERT, or a transformer of the size of open_clip's."""
    named = migration.value("text_cfg.hf_model_name")
    if named is not None and "bert" in str(named).lower() and "roberta" not in str(named).lower():
        migration.carry("text_cfg.hf_model_name", "model.text.architecture", named)
        migration.assume("model.text.layers", 12, "all layers of a BERT")
    else:
        if named is not None:
            migration.drop("text_cfg.hf_model_name", "cbalign has BERT text towers only")
        migration.apply(
            [
                Rule("text_cfg.layers", "model.text.layers"),
                Rule("text_cfg.width", "model.text.width"),
                Rule("text_cfg.heads", "model.text.heads"),
            ]
        )
        match = _NAMED_VIT.match(str(migration.value("model")))
        if match and match["size"] in _TEXTS:
            layers, width = _TEXTS[match["size"]]
            for name, value in (("layers", layers), ("width", width), ("heads", width // 64)):
                migration.assume(f"model.text.{name}", value, f"the text tower of {match[0]}")
            migration.assume("model.joint_dim", width, f"embed_dim of {match[0]}")
        across = migration.written("model.text.width")
        if isinstance(across, int):
            migration.assume("model.text.intermediate", 4 * across, "mlp_ratio 4")
        migration.assume("model.text.init", "random", "trained from scratch")
        migration.lack(
            "the text tower", "open_clip's is a causal transformer on byte pairs; cbalign's is a BERT of the same size"
        )
    migration.apply(
        [
            Rule("force_context_length", "model.text.max_tokens", unless=None),
            Rule("text_cfg.context_length", "model.text.max_tokens"),
            Rule("text_cfg.vocab_size", remark="the tokenizer determines the vocabulary: model.text.tokenizer"),
            Rule("embed_dim", "model.joint_dim"),
        ]
    )
    migration.assume("model.text.max_tokens", 77, "context_length")
    migration.assume("model.text.architecture", "bert-base-uncased", "a transformer")
