"""Checkpoints of open_clip and of OpenAI's CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cbalign.data.published import CONFIG_FILES, TOKENIZER_FILES, published_folder
from cbalign.errors import CheckpointError
from cbalign.interop.checkpoints import clip_towers
from cbalign.interop.checkpoints.dual import DualEncoder, ImageInput, Projection, TowerForm
from cbalign.interop.checkpoints.dual_run import prepare_dual
from cbalign.interop.checkpoints.format import ImportRequest, describe_other
from cbalign.interop.checkpoints.image_input import of_open_clip
from cbalign.interop.checkpoints.open_clip_config import REMEDY, TEXT, VISION, OpenClipConfig
from cbalign.interop.checkpoints.prepared import Prepared
from cbalign.interop.checkpoints.source import CheckpointSource, tokenizer_files
from cbalign.interop.checkpoints.tensors import Tensors

CONSTANTS = ("input_resolution", "context_length", "vocab_size", "attn_mask", "text.attn_mask")
NATIVE_TEXT = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection", "cls_emb")
_POOLERS = {"mean_pooler": "mean", "cls_pooler": "trunk", "cls_last_hidden_state_pooler": "first"}


def read_open_clip(request: ImportRequest, scratch: Path) -> Prepared:
    """Make a model of a checkpoint of open_clip.

    Raises:
        CheckpointError: it is another model, or has a tower that cbalign does not have.
    """
    source = CheckpointSource.find(request.source)
    weights = source.weights(prefer_open_clip=True)
    if "logit_scale" not in weights or not any(name.startswith("visual.") for name in weights):
        raise CheckpointError(
            f"{source.name} is not a checkpoint of open_clip: it has no tensors visual.… and logit_scale",
            remedy=describe_other(weights, request.source, "open_clip") or None,
        )
    config = OpenClipConfig.find(request.config, source.folder, Path(source.name))
    encoder = from_open_clip(Tensors(weights, source.name), config, source, request.tokenizer)
    return prepare_dual(encoder, request, scratch)


def from_openai(tensors: Tensors, source: CheckpointSource, tokenizer: str | None) -> DualEncoder:
    """Convert a state dict of OpenAI's CLIP.

    Raises:
        CheckpointError: it is another model.
    """
    vision = clip_towers.clip_vision_tower(tensors.below("visual."), "quick_gelu")
    redundant = tensors.drop(CONSTANTS)
    scale = clip_towers.scalar(tensors.take_if_there("logit_scale"))
    text = clip_towers.clip_text_tower(_text(tensors), "quick_gelu", None, _tokenizer(tokenizer, source))
    tensors.refuse_rest("CLIP model")
    return DualEncoder("CLIP", vision, text, ImageInput(), scale, redundant=redundant)


def from_open_clip(
    tensors: Tensors, config: OpenClipConfig, source: CheckpointSource, tokenizer: str | None
) -> DualEncoder:
    """Convert a state dict of open_clip.

    Raises:
        CheckpointError: it is another model, or one with a tower that cbalign does not have.
    """
    images = of_open_clip(config.preprocess, config.origin)
    visual = tensors.below("visual.")
    vision = _timm_tower(visual, config, images) if "timm_model_name" in config.vision else _vision(visual, config)
    redundant = tensors.drop(CONSTANTS)
    scale = clip_towers.scalar(tensors.take_if_there("logit_scale"))
    bias = clip_towers.scalar(tensors.take_if_there("logit_bias"))
    files = _tokenizer(tokenizer, source, config.text.get("hf_tokenizer_name") or config.text.get("hf_model_name"))
    text = _text(tensors)
    text_form = _published_text(text, config, files) if "hf_model_name" in config.text else _own(text, config, files)
    tensors.refuse_rest("open_clip model")
    return DualEncoder("open_clip", vision, text_form, images, scale, bias, redundant=redundant)


def _text(tensors: Tensors) -> Tensors:
    """The text tower, whose names are not below `text.` in CLIP's first form."""
    if any(name.startswith("text.") for name in tensors):
        return tensors.below("text.")
    names = [name for name in tensors if name.startswith(NATIVE_TEXT)]
    return Tensors({name: tensors.take(name) for name in names}, tensors.origin)


def _vision(visual: Tensors, config: OpenClipConfig) -> TowerForm:
    config.refuse_unusual("vision_cfg", config.vision, VISION)
    activation = clip_towers.activation_of(config.quick_gelu, config.vision)
    head_width = int(config.vision.get("head_width", clip_towers.HEAD_WIDTH))
    return clip_towers.clip_vision_tower(visual, activation, head_width, _norm_eps(config.vision))


def _own(text: Tensors, config: OpenClipConfig, files: tuple[Path, ...]) -> TowerForm:
    """A text tower of open_clip's own."""
    settings = config.text
    config.refuse_unusual("text_cfg", settings, TEXT)
    activation, eps = clip_towers.activation_of(config.quick_gelu, settings), _norm_eps(settings)
    heads, pool = int(settings.get("heads", 8)), settings.get("pool_type", "argmax")
    if pool == "last" and settings.get("no_causal_mask", False):
        return clip_towers.siglip_text_tower(text, activation, heads, eps, files)
    if pool in ("argmax", "eos") and not settings.get("no_causal_mask", False):
        end = int(settings.get("eos_id", 2)) if pool == "eos" else None
        return clip_towers.clip_text_tower(text, activation, heads, files, norm_eps=eps, end=end)
    raise CheckpointError(
        f"{config.origin}: text_cfg.pool_type is {pool!r} {'without' if settings.get('no_causal_mask') else 'with'} "
        "causal mask; cbalign imports CLIP's (argmax, causal) and SigLIP's (last, not causal)",
        remedy=REMEDY,
    )


def _timm_tower(visual: Tensors, config: OpenClipConfig, images: ImageInput) -> TowerForm:
    """A trunk of timm with open_clip's head."""
    settings, name = config.vision, str(config.vision["timm_model_name"])
    pool, kind = settings.get("timm_pool", "avg"), settings.get("timm_proj", "linear")
    if kind == "mlp" or pool in ("abs_attn", "rot_attn"):
        raise CheckpointError(
            f"{config.origin}: vision_cfg.timm_{'proj' if kind == 'mlp' else 'pool'} is "
            f"{kind if kind == 'mlp' else pool!r}; cbalign's projection is one linear layer after the trunk's pooling",
            remedy=REMEDY,
        )
    size = settings.get("image_size", 224)
    if not isinstance(size, int):
        raise CheckpointError(f"{config.origin}: vision_cfg.image_size is {size!r}; cbalign's images are square")
    trunk, head = visual.below("trunk."), visual.below("head.")
    if kind == "linear":
        projection = Projection(head.take("proj.weight"), head.take_if_there("proj.bias"))
    else:
        projection = _head_of(trunk, config)
    head.refuse_rest("projection")
    visual.refuse_rest("image tower")
    form = {
        "architecture": name,
        "num_classes": 0,
        "model_args": {"global_pool": pool} if pool else {},
        "pretrained_cfg": {
            "input_size": [3, size, size],
            "mean": list(images.mean),
            "std": list(images.std),
            "interpolation": images.interpolation,
            "crop_pct": images.crop,
            "crop_mode": "center" if images.fit == "crop" else "squash",
        },
    }
    return TowerForm({"kind": "timm", "image_size": size, "pooling": "trunk"}, form, trunk.take_all(), projection)


def _head_of(trunk: Tensors, config: OpenClipConfig) -> Projection:
    """The classification head of a trunk that gives embeddings; the identity if the trunk has none."""
    for name in ("head", "head.fc"):
        if f"{name}.weight" in trunk:
            return Projection(trunk.take(f"{name}.weight"), trunk.take_if_there(f"{name}.bias"))
    if config.vision.get("timm_proj") != "none":
        raise CheckpointError(f"{config.origin}: the trunk has no head, though timm_proj is not 'none'")
    return Projection.identity(config.embed_dim)


def _published_text(text: Tensors, config: OpenClipConfig, files: tuple[Path, ...]) -> TowerForm:
    """A text model of transformers with open_clip's pooling and projection."""
    settings, model = config.text, str(config.text["hf_model_name"])
    pooler, kind = settings.get("hf_pooler_type", "mean_pooler"), settings.get("hf_proj_type", "mlp")
    if pooler not in _POOLERS or (kind == "mlp" and "proj.0.weight" in text):
        named = f"hf_pooler_type is {pooler!r}" if pooler not in _POOLERS else "hf_proj_type is 'mlp'"
        raise CheckpointError(
            f"{config.origin}: text_cfg.{named}; cbalign has linear projections of {', '.join(_POOLERS)}",
            remedy=REMEDY,
        )
    folder = published_folder(model, "text_cfg.hf_model_name", CONFIG_FILES)
    form: dict[str, Any] = CheckpointSource(folder).json("config.json")
    tensors = text.below("transformer.")
    tensors.drop(("embeddings.position_ids",))
    weights = tensors.take_all()
    width = int(form.get("hidden_size") or form.get("d_model") or form.get("dim") or 0)
    linear = text.take_if_there("proj.weight")
    projection = Projection.identity(width) if linear is None else Projection(linear)
    text.refuse_rest("text tower")
    length = int(settings.get("context_length", 77))
    return TowerForm(
        {"kind": "huggingface", "max_tokens": length, "pooling": _POOLERS[pooler]}, form, weights, projection, files
    )


def _tokenizer(given: str | None, source: CheckpointSource, named: object = None) -> tuple[Path, ...]:
    """The files of the tokenizer that was given, of the checkpoint, or of the name in its configuration."""
    if given is not None:
        return tokenizer_files(published_folder(given, "--tokenizer", TOKENIZER_FILES))
    if found := source.tokenizer_files():
        return found
    return () if named is None else tokenizer_files(published_folder(str(named), "tokenizer", TOKENIZER_FILES))


def _norm_eps(settings: Any) -> float:
    return float((settings.get("norm_kwargs") or {}).get("eps", clip_towers.NORM_EPS))
