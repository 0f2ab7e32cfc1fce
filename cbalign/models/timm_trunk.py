"""Models of timm: building one for a spec, what it gives, and its published weights and preprocessing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.data import resolve_model_data_config
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from cbalign.data.image import Preprocessing
from cbalign.data.published import is_hub_name
from cbalign.errors import CheckpointError, SpecError
from cbalign.models.hub import model_folder, read_config
from cbalign.models.lite import lite_preprocessing, lite_weights, timm_name
from cbalign.models.pretrained import read_weights
from cbalign.models.sections.timm import LITE
from cbalign.models.trunk import map_tokens, token_map

PLACE = "model.vision.architecture"
_WHAT_FITS = "Choose a model that gives tokens or a feature map, such as vit_*, deit_*, eva02_*, convnext_*, swin_* or "
_CREATION_ERRORS = (RuntimeError, ValueError, AssertionError, AttributeError, KeyError)


@dataclass(frozen=True)
class Architecture:
    """A model of timm.

    Args:
        name: as a spec writes it.
        timm: timm's name.
        settings: further arguments of the model, from config.json.
        config: timm's `pretrained_cfg`, from config.json; None for the one that timm has for the name.
        folder: of config.json, if it comes from one.
    """

    name: str
    timm: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    folder: Path | None = None

    @classmethod
    def find(cls, name: str, place: str = PLACE, *, weights: bool = False) -> Architecture:
        """Find an architecture by timm's name, built-in name, hub name or folder.

        Args:
            name: the name.
            place: the setting named in messages.
            weights: whether the weights of a hub name are needed, too.

        Raises:
            CheckpointError: the folder or hub name has no config.json in timm's layout.
        """
        if not is_hub_name(name) and not Path(name).is_absolute():
            return cls(name, timm_name(name))
        folder = model_folder(name, place, weights=weights)
        config = read_config(folder, place)
        if not isinstance(config.get("architecture"), str):
            raise CheckpointError(
                f"{place}: config.json in {folder} names no architecture of timm",
                remedy="Give a model that timm wrote (timm.models.save_for_hf); for models of transformers set "
                "model.vision.kind: huggingface.",
            )
        own = config.get("pretrained_cfg") or {key: value for key, value in config.items() if key in _CONFIG_KEYS}
        own = {**own, **{key: config[key] for key in _CLASS_KEYS if key in config}}
        settings = {key: value for key, value in (config.get("model_args") or {}).items() if key != "img_size"}
        return cls(name, config["architecture"], settings, own, folder)

    def create(self, image_size: int, **settings: object) -> nn.Module:
        """Build the model without classification head, for images of this size where it has to be told.

        Raises:
            SpecError: timm cannot build it.
        """
        given = {**self.settings, **settings, "num_classes": 0}
        optional: dict[str, object] = {"img_size": image_size, "drop_path_rate": 0.0}
        while True:
            try:
                return cast(nn.Module, timm.create_model(self.timm, **{**optional, **given}))
            except TypeError as error:
                unknown = next((name for name in optional if f"'{name}'" in str(error) and name not in given), None)
                if unknown is None:
                    raise self._refused(image_size, settings, error) from error
                del optional[unknown]  # not every model has to be told
            except _CREATION_ERRORS as error:
                raise self._refused(image_size, settings, error) from error

    def _refused(self, image_size: int, settings: Mapping[str, object], error: Exception) -> SpecError:
        if set(settings) & {"patch_size", "depth", "embed_dim", "num_heads"}:
            remedy = "patch_size, layers, width and heads are settings of plain ViTs; leave them out for other models."
        elif timm.is_model(self.timm.split(".")[0]):
            remedy = f"Its weights are for images of {self.natural_size} px; set model.vision.image_size to that."
        else:
            remedy = "`timm.list_models()` lists the names; models of transformers need model.vision.kind: huggingface."
        return SpecError(
            f"model.vision: timm cannot build {self.name!r} for images of {image_size} px: {_line(error)}",
            remedy=remedy,
        )

    def preprocessing(self, image_size: int) -> Preprocessing:
        """Return the preprocessing that the published weights were trained with.

        Raises:
            SpecError: timm's description of it is of a kind that cbalign does not have.
        """
        found = preprocessing_of_config(self.published_config, image_size, self.name)
        return lite_preprocessing(self.name, found) if self.name in LITE else found

    @property
    def natural_size(self) -> int:
        """Side of the images that the weights were trained with, in pixels."""
        config = dict(self.published_config)
        return LITE.get(self.name) or int(resolve_model_data_config(None, pretrained_cfg=config)["input_size"][-1])

    @property
    def published_config(self) -> Mapping[str, Any]:
        """timm's `pretrained_cfg` of the published weights; empty if it knows none."""
        return self.config if self.config is not None else _config_of(self.timm)

    def published(self, trunk: nn.Module) -> dict[str, Tensor]:
        """Read the architecture's published weights, by timm's names, with the classifier that they came with.

        Raises:
            CheckpointError: they cannot be fetched or read.
            MissingExtraError: their package is not installed.
        """
        if self.name in LITE:
            return lite_weights(self.name, trunk)
        if self.folder is not None:
            return read_weights(model_folder(self.name, PLACE, weights=True))
        try:
            model = timm.create_model(self.timm, pretrained=True)
        except Exception as error:  # timm and the hub client raise many kinds
            raise CheckpointError(
                f"model.vision.init: the weights of {self.name} cannot be fetched: {_line(error)}",
                remedy="Check the network, set init to a local file or folder of timm weights, or set init: random.",
            ) from error
        return dict(model.state_dict())


_CLASS_KEYS = ("label_names", "label_descriptions", "num_classes")  # outside `pretrained_cfg`
_CONFIG_KEYS = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")


def preprocessing_of_config(config: Mapping[str, Any], image_size: int, name: str) -> Preprocessing:
    """Convert timm's `pretrained_cfg`.

    Raises:
        SpecError: it pads images, which cbalign does not.
    """
    found = resolve_model_data_config(None, pretrained_cfg=dict(config))
    fit = {"center": "crop", "squash": "squash"}.get(found["crop_mode"])
    if fit is None:
        raise SpecError(
            f"model.vision.preprocessing: the weights of {name} were trained with crop mode {found['crop_mode']!r}",
            remedy="Set model.vision.preprocessing to albef, or all of its parts.",
        )
    filtered = "bicubic" if found["interpolation"] == "random" else found["interpolation"]
    mean, std = (tuple(float(v) for v in found[key]) for key in ("mean", "std"))
    share = min(1.0, float(found["crop_pct"]))
    return Preprocessing(image_size, mean, std, filtered, fit, share)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Features:
    """What a trunk gives.

    Args:
        width: dimension of a token.
        prefix_tokens: tokens in front of the patches.
        pooled: dimension of the vector that the trunk's own pooling gives; None if it has none.
        is_map: whether it gives a feature map.
        channels_last: whether the map is (B, H, W, C).
    """

    width: int
    prefix_tokens: int
    pooled: int | None
    is_map: bool = False
    channels_last: bool = False

    @classmethod
    def of(cls, trunk: nn.Module, architecture: Architecture, image_size: int, **settings: object) -> Features:
        """Find out what a trunk gives, by running another of the same kind on the meta device.

        Raises:
            SpecError: neither tokens nor a map, or images of this size are impossible.
        """
        if isinstance(trunk, VisionTransformer):
            pooled = trunk.num_features if trunk.global_pool else None
            return cls(trunk.num_features, trunk.num_prefix_tokens, pooled)
        with torch.device("meta"), torch.no_grad():
            twin: Any = architecture.create(image_size, **settings).eval()
            found, pooled = _run(twin, torch.zeros(2, 3, image_size, image_size), architecture)
        width = int(twin.num_features)
        if isinstance(found, Tensor) and found.ndim == 3 and found.shape[2] == width:
            return cls(width, _prefix_tokens(twin, architecture, found), pooled)
        if isinstance(found, Tensor) and found.ndim == 4 and width in (found.shape[1], found.shape[3]):
            ambiguous = found.shape[1] == found.shape[3]
            last = getattr(twin, "output_fmt", "NCHW") == "NHWC" if ambiguous else found.shape[3] == width
            return cls(width, 0, pooled, is_map=True, channels_last=last)
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise SpecError(
            f"{PLACE}: {architecture.name!r} gives neither tokens nor a feature map, but {shape}",
            remedy=_WHAT_FITS + "tf_efficientnet_lite0.",
        )

    def tokens(self, features: Tensor) -> Tensor:
        """Convert what the trunk gives to tokens (B, N, D)."""
        return map_tokens(features, self.channels_last) if self.is_map else features

    def restored(self, tokens: Tensor) -> Tensor:
        """Convert tokens (B, N, D) to what the trunk gave."""
        return token_map(tokens, self.channels_last) if self.is_map else tokens


def _run(twin: Any, images: Tensor, architecture: Architecture) -> tuple[object, int | None]:
    """Features of the trunk, and the dimension of its own pooled vector."""
    try:
        found = twin.forward_features(images)
    except Exception as error:  # trunks check sizes in many ways
        natural = architecture.natural_size
        raise SpecError(
            f"model.vision.image_size: {architecture.name} cannot read images of {images.shape[-1]} px: {_line(error)}",
            remedy=f"Set model.vision.image_size to {natural}, the size of its weights, or a multiple of what its "
            "stages divide by (mostly 32).",
        ) from error
    try:
        pooled = twin.forward_head(found, pre_logits=True)
    except Exception:  # whatever it is, it is no pooling of these features
        return found, None
    return found, pooled.shape[1] if isinstance(pooled, Tensor) and pooled.ndim == 2 else None


def _prefix_tokens(trunk: Any, architecture: Architecture, tokens: Tensor) -> int:
    """Number of prefix tokens, which must leave a square of patches."""
    known = getattr(trunk, "num_prefix_tokens", None)
    count = int(known) if known is not None else int(getattr(trunk, "cls_token", None) is not None)
    patches = tokens.shape[1] - count
    if patches < 1 or (patches > 0 and round(patches**0.5) ** 2 != patches):
        raise SpecError(
            f"{PLACE}: {architecture.name!r} gives {tokens.shape[1]} tokens, which are no square of patches",
            remedy=_WHAT_FITS + "tf_efficientnet_lite0.",
        )
    return count


def converted(weights: Mapping[str, Tensor], trunk: nn.Module) -> dict[str, Tensor]:
    """Convert weights of other layouts and image sizes with timm's own function for the model's family.

    Weights that already have the trunk's names are left to the loader for plain ViTs, whose positions it interpolates
    as ALBEF does.
    """
    state = dict(weights)
    filtering = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)
    if filtering is None or (isinstance(trunk, VisionTransformer) and trunk.state_dict().keys() <= state.keys()):
        return state
    try:
        found = filtering(state, trunk)
    except Exception:  # the loader says what is missing or has another shape
        return state
    return {str(name): tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}


def _config_of(name: str) -> dict[str, Any]:
    found = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return {} if found is None else found.to_dict()


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
