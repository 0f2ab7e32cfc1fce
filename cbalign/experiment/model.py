"""The `model` section: towers, fusion, codebook, teacher, queues. Defaults are the paper's."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cbalign.parts.section import Effect, RuleError, Section, setting, subsection

ARCHITECTURE, INITIALISATION, TRAINING = Effect.ARCHITECTURE, Effect.INITIALISATION, Effect.TRAINING


_NAMED_PATCH = re.compile(r"patch(\d+)")


def _check_heads(width: int | None, heads: int | None) -> None:
    if width and heads and width % heads:
        nearest = _nearest_multiple(width, heads)
        raise RuleError(
            f"width {width} is not a multiple of heads {heads}; nearest width {nearest}", at=("heads", "width")
        )


def _nearest_multiple(value: int, unit: int) -> int:
    return max(1, round(value / unit)) * unit


class VisionSection(Section):
    """The image tower: a vision transformer of timm."""

    architecture: str = setting(
        "vit_base_patch16_224",
        effect=ARCHITECTURE,
        help="Name of a timm vision transformer.",
        paper="ViT-B/16 (ALBEF)",
    )
    image_size: int = setting(
        256,
        ge=8,
        effect=ARCHITECTURE,
        help="Side of the square input, in pixels.",
        paper="256, fine-tuning 384 (ALBEF)",
    )
    patch_size: int | None = setting(
        None, ge=1, effect=ARCHITECTURE, help="Side of a patch in pixels; null keeps the architecture's."
    )
    layers: int | None = setting(
        None, ge=1, effect=ARCHITECTURE, help="Number of transformer blocks; null keeps the architecture's."
    )
    width: int | None = setting(
        None, ge=8, effect=ARCHITECTURE, help="Width of a token; null keeps the architecture's."
    )
    heads: int | None = setting(None, ge=1, effect=ARCHITECTURE, help="Attention heads; null keeps the architecture's.")
    stem: Literal["patches", "convolutions"] = setting(
        "patches",
        effect=ARCHITECTURE,
        help="How pixels become tokens: one linear map per patch, or 3x3 convolutions that halve the image until a "
        "token covers `patch_size` pixels, which learn from few images (Xiao et al., 2021).",
        paper="patches (ALBEF)",
    )
    drop_path: float = setting(0.0, ge=0, lt=1, effect=TRAINING, help="Stochastic depth rate of the last block.")
    init: str = setting(
        "pretrained",
        effect=INITIALISATION,
        path="maybe",
        help="`pretrained` (timm's weights by name), `random`, or a file or folder of timm/DeiT weights.",
        paper="DeiT-B, ImageNet-1k (ALBEF)",
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> VisionSection:
        _check_heads(self.width, self.heads)
        return self

    @model_validator(mode="after")
    def _patches_fill_the_image(self) -> VisionSection:
        patch = self.patch
        if patch and self.image_size % patch:
            whose = "patch_size" if self.patch_size else f"{self.architecture}'s patch size"
            nearest = _nearest_multiple(self.image_size, patch)
            raise RuleError(
                f"image_size {self.image_size} is not a multiple of {whose} {patch}; nearest {nearest}",
                at=("image_size", "patch_size", "architecture"),
            )
        return self

    @model_validator(mode="after")
    def _convolutions_can_be_built(self) -> VisionSection:
        if self.stem == "patches":
            return self
        patch = self.patch
        if patch and (patch < 2 or patch & (patch - 1)):
            raise RuleError(
                f"patch_size {patch} is not a power of two, which convolutions of stride 2 reach; take 8, 16 or 32",
                at=("patch_size", "stem", "architecture"),
            )
        if self.init == "pretrained":
            raise RuleError(
                "a stem of convolutions has no published weights; set init: random, or stem: patches",
                at=("stem", "init"),
            )
        return self

    @property
    def patch(self) -> int | None:
        """Side of a patch in pixels: as set, or as the architecture's name tells; `None` if neither does."""
        named = _NAMED_PATCH.search(self.architecture)
        return self.patch_size or (int(named[1]) or None if named else None)


class TextSection(Section):
    """The text tower: the first layers of a BERT."""

    architecture: str = setting(
        "bert-base-uncased",
        effect=ARCHITECTURE,
        path="maybe",
        help="A built-in BERT (`bert-base-uncased`, `all-minilm-l6-v2`, `bert-mini`), a folder with config.json, "
        "or a hub name.",
        paper="BERT-base uncased (ALBEF)",
    )
    layers: int = setting(6, ge=1, effect=ARCHITECTURE, help="Layers of the text tower.", paper="6 (ALBEF)")
    width: int | None = setting(
        None, ge=8, effect=ARCHITECTURE, help="Width of a token; null keeps the architecture's."
    )
    heads: int | None = setting(None, ge=1, effect=ARCHITECTURE, help="Attention heads; null keeps the architecture's.")
    intermediate: int | None = setting(
        None,
        ge=8,
        effect=ARCHITECTURE,
        help="Width of the feed-forward layer; null keeps the architecture's.",
    )
    dropout: float = setting(
        0.1, ge=0, lt=1, effect=TRAINING, help="Dropout in text and fusion layers.", paper="0.1 (BERT)"
    )
    init: Literal["pretrained", "random"] = setting(
        "pretrained",
        effect=INITIALISATION,
        help="Start from the architecture's published weights or at random.",
    )
    tokenizer: Literal["pretrained", "captions"] = setting(
        "pretrained",
        effect=ARCHITECTURE,
        help="The architecture's own tokenizer, or a WordPiece vocabulary trained on the training captions.",
    )
    vocabulary: int = setting(
        8000, ge=64, effect=ARCHITECTURE, help="Largest size of a vocabulary trained on the captions."
    )
    max_tokens: int = setting(
        25,
        ge=3,
        le=512,
        effect=Effect.DATA,
        help="Longest caption in tokens, [CLS] included.",
        paper="25, retrieval 30 (ALBEF)",
    )
    max_words: int = setting(30, ge=1, effect=Effect.DATA, help="Longest caption in words.", paper="30 (ALBEF)")
    closing_sep: bool = setting(
        False,
        effect=Effect.DATA,
        help="End a caption in [SEP]. ALBEF's weights expect none.",
        paper="no (ALBEF)",
    )
    pooling: Literal["cls", "mean"] = setting(
        "cls",
        effect=ARCHITECTURE,
        help="Which token vector is projected: [CLS] or the mean of all.",
        paper="cls (ALBEF)",
    )

    @model_validator(mode="after")
    def _init_fits_the_rest(self) -> TextSection:
        _check_heads(self.width, self.heads)
        changed = [name for name in ("width", "heads", "intermediate") if getattr(self, name) is not None]
        if self.init == "pretrained" and changed:
            raise RuleError(
                f"{' and '.join(changed)} cannot be changed with init: pretrained; set init: random",
                at=(*changed, "init"),
            )
        if self.init == "pretrained" and self.tokenizer == "captions":
            raise RuleError("tokenizer: captions has a vocabulary of its own; it needs init: random", at=("tokenizer",))
        return self


class FusionSection(Section):
    """The fusion encoder: BERT layers with cross-attention onto the image tokens."""

    layers: int = setting(
        6,
        ge=1,
        effect=ARCHITECTURE,
        help="Fusion layers. Pretrained text weights give their last layers; cross-attention starts at random.",
        paper="6 (ALBEF)",
    )


class TemperatureSection(Section):
    """The contrastive temperature γ."""

    initial: float = setting(0.07, gt=0, effect=INITIALISATION, help="Temperature at the start.", paper="0.07 (ALBEF)")
    learned: bool = setting(True, effect=TRAINING, help="Whether the temperature is a parameter.", paper="yes (ALBEF)")
    minimum: float = setting(0.001, gt=0, effect=TRAINING, help="Lower clamp.", paper="0.001 (ALBEF)")
    maximum: float = setting(0.5, gt=0, effect=TRAINING, help="Upper clamp.", paper="0.5 (ALBEF)")

    @model_validator(mode="after")
    def _in_order(self) -> TemperatureSection:
        if not self.minimum <= self.initial <= self.maximum:
            raise RuleError(
                f"initial {self.initial} is not between minimum {self.minimum} and maximum {self.maximum}",
                at=("initial", "minimum", "maximum"),
            )
        return self


class IPOTSection(Section):
    """Inexact proximal point method (Xie et al., UAI 2019)."""

    solver: Literal["ipot"] = setting("ipot", effect=TRAINING, help="Which solver finds the transport plan.")
    beta: float = setting(0.5, gt=0, effect=TRAINING, help="Proximal step β; β/iterations is the entropic ε it equals.")
    iterations: int = setting(50, ge=1, effect=TRAINING, help="Outer iterations n; more tends to the exact plan.")
    inner: int = setting(1, ge=1, effect=TRAINING, help="Scalings per outer iteration k.")


class SinkhornSection(Section):
    """Entropic transport in the log domain."""

    solver: Literal["sinkhorn"] = setting(effect=TRAINING, help="Which solver finds the transport plan.")
    epsilon: float = setting(0.05, gt=0, effect=TRAINING, help="Entropic regularisation ε.")
    iterations: int = setting(100, ge=1, effect=TRAINING, help="Iterations at the most.")
    tolerance: float = setting(
        1e-6, ge=0, effect=TRAINING, help="Stop when the marginals are this close (largest error)."
    )


TransportSection = Annotated[IPOTSection | SinkhornSection, Field(discriminator="solver")]


class CodebookSection(Section):
    """The representation codebook that both modalities share."""

    size: int = setting(4000, ge=2, effect=ARCHITECTURE, help="Number of prototypes K.", paper="4000 (CODIS)")
    temperature: float = setting(0.1, gt=0, effect=TRAINING, help="Temperature τ of the prototype distributions.")
    transport: TransportSection = subsection(IPOTSection, help="How teacher features are assigned to prototypes.")
    assign_over: Literal["batch", "global_batch", "global_batch+queue"] = setting(
        "global_batch", effect=TRAINING, help="Which teacher features share one transport plan."
    )
    freeze_steps: int = setting(0, ge=0, effect=TRAINING, help="Steps during which the prototypes do not move.")


class TeacherSection(Section):
    """The momentum teacher."""

    momentum: float = setting(
        0.995, ge=0, lt=1, effect=TRAINING, help="Weight m of the old teacher.", paper="0.995 (ALBEF)"
    )
    distillation: float = setting(
        0.4, ge=0, le=1, effect=TRAINING, help="Weight α of the teacher's soft targets.", paper="0.4 (ALBEF)"
    )
    ramp_epochs: float = setting(
        1.0, ge=0, effect=TRAINING, help="Epochs over which α grows from 0.", paper="1 (ALBEF)"
    )


class QueueSection(Section):
    """The queues of teacher features."""

    length: int = setting(
        65536,
        ge=0,
        effect=ARCHITECTURE,
        help="Features per modality M; 0 switches the queues off.",
        paper="65536 (ALBEF)",
    )


class ModelSection(Section):
    """What is trained. Parts that only a weight-0 objective would use are not built."""

    vision: VisionSection = subsection(VisionSection, help="The image tower.")
    text: TextSection = subsection(TextSection, help="The text tower.")
    fusion: FusionSection = subsection(FusionSection, help="The fusion encoder.")
    joint_dim: int = setting(
        256, ge=2, effect=ARCHITECTURE, help="Dimension d of the joint space.", paper="256 (ALBEF)"
    )
    temperature: TemperatureSection = subsection(TemperatureSection, help="The contrastive temperature.")
    codebook: CodebookSection = subsection(CodebookSection, help="The representation codebook.")
    teacher: TeacherSection = subsection(TeacherSection, help="The momentum teacher.")
    queue: QueueSection = subsection(QueueSection, help="The queues of teacher features.")
