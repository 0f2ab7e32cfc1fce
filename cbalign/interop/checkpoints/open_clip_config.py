"""The configuration of an open_clip model: `model_cfg` of open_clip_config.json, or one of its model_configs."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cbalign.errors import CheckpointError

CONFIG_FILE = "open_clip_config.json"
REMEDY = "Convert another checkpoint, or train the model again: cbalign migrate CONFIG."
_BLOCK = {
    "block_type": None,
    "qk_norm": False,
    "scaled_cosine_attn": False,
    "scale_heads": False,
    "scale_attn_inner": False,
    "scale_attn": False,
    "scale_fc": False,
    "ls_init_value": None,
}
# The values that transformers' CLIP and SigLIP can represent; others are refused.
VISION = _BLOCK | {"attentional_pool": False, "no_ln_pre": False, "pos_embed_type": "learnable", "pool_type": "tok"}
TEXT = _BLOCK | {"embed_cls": False}


@dataclass(frozen=True)
class OpenClipConfig:
    """A model of open_clip.

    Args:
        origin: the name of the file in messages.
        embed_dim: dimension of the joint space.
        vision, text: `vision_cfg` and `text_cfg`.
        quick_gelu: whether the towers of open_clip's own use QuickGELU.
        preprocess: `preprocess_cfg`; empty if the file has none.
    """

    origin: str
    embed_dim: int
    vision: Mapping[str, Any]
    text: Mapping[str, Any]
    quick_gelu: bool
    preprocess: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> OpenClipConfig:
        """Read a configuration.

        Raises:
            CheckpointError: it cannot be read or is no configuration of open_clip.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        model = content.get("model_cfg", content) if isinstance(content, dict) else None
        if not isinstance(model, dict) or not all(isinstance(model.get(k), dict) for k in ("vision_cfg", "text_cfg")):
            raise CheckpointError(f"{path} is no configuration of open_clip: it has no vision_cfg and text_cfg")
        if "multimodal_cfg" in model:
            raise CheckpointError(f"{path}: CoCa's captioner cannot be imported", remedy=REMEDY)
        if model["vision_cfg"].get("image_mean"):  # of old files
            content["preprocess_cfg"] = {k: model["vision_cfg"][f"image_{k}"] for k in ("mean", "std")}
        return cls(
            str(path),
            int(model.get("embed_dim", 512)),
            model["vision_cfg"],
            model["text_cfg"],
            bool(model.get("quick_gelu", False)),
            content.get("preprocess_cfg") or {},
        )

    @classmethod
    def find(cls, given: str | None, folder: Path, checkpoint: Path) -> OpenClipConfig:
        """Find the configuration of a checkpoint.

        Args:
            given: a file, or the name of a model of the installed open_clip; None looks into `folder`.
            folder: of the checkpoint.
            checkpoint: for messages.

        Raises:
            CheckpointError: there is none, or it cannot be read.
        """
        if given is None:
            if (folder / CONFIG_FILE).is_file():
                return cls.read(folder / CONFIG_FILE)
            raise CheckpointError(
                f"{checkpoint} has no {CONFIG_FILE}; activations and heads cannot be seen in the tensors",
                remedy="Name the configuration: --config FILE, or --config ViT-B-32 if open_clip_torch is installed.",
            )
        if Path(given).is_file():
            return cls.read(Path(given))
        found = installed_file(f"model_configs/{given}.json")
        if found is None:
            raise CheckpointError(
                f"--config {given}: neither a file nor a model of an installed open_clip",
                remedy=f"Give the model's {CONFIG_FILE}, or install open_clip_torch to give its name.",
            )
        return cls.read(found)

    def refuse_unusual(self, part: str, values: Mapping[str, Any], usual: Mapping[str, object]) -> None:
        """Refuse settings that no tower of cbalign has.

        Raises:
            CheckpointError: there is one; the message names it.
        """
        for name, value in usual.items():
            if values.get(name, value) != value:
                raise CheckpointError(
                    f"{self.origin}: {part}.{name} is {values[name]!r}; cbalign imports {value!r} only", remedy=REMEDY
                )


def installed_file(name: str) -> Path | None:
    """Find a file of the installed open_clip, whose code is not imported; None if it is not installed."""
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        return None
    found = Path(package.origin).parent / name
    return found if found.is_file() else None
