"""Image towers from transformers: every vision model that `AutoModel` knows and that gives tokens or a feature map."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cbalign.data.image import Preprocessing
from cbalign.errors import SpecError
from cbalign.models.hub import model_folder
from cbalign.models.huggingface_preprocessing import read_preprocessing
from cbalign.models.huggingface_trunk import (
    ANTIALIASED,
    OWN_POOLING,
    PLACE,
    POOLERS,
    Source,
    build_model,
    image_tokens,
    known_poolings,
    prefix_count,
    published_weights,
    run_model,
)
from cbalign.models.preprocessing import chosen_preprocessing
from cbalign.models.sections.huggingface_vision import HuggingFaceVisionSection
from cbalign.models.sections.vision import Pooling
from cbalign.models.tower import VisionTower
from cbalign.models.trunk import are_square, check_pooling, resize_positions
from cbalign.models.weights import LoadRules, WeightReport, load_weights


class HuggingFaceVisionTower(VisionTower):
    """A vision model of transformers. A feature map becomes tokens (B, H·W, C), row by row.

    Args:
        source: the model.
        image_size: side of the square input in pixels.
        pooling: how tokens become one vector.
        preprocessing: how images become pixels; None is ALBEF's.

    Raises:
        SpecError: transformers has no such vision model, it gives neither tokens nor a map, it cannot read images of
            this size, or it lacks the pooling.
    """

    def __init__(
        self,
        source: Source,
        image_size: int,
        *,
        pooling: Pooling = "trunk",
        preprocessing: Preprocessing | None = None,
    ) -> None:
        config = source.sized(image_size)
        model = build_model(config, source)
        with torch.device("meta"), torch.no_grad():
            tokens = run_model(build_model(config, source).eval(), image_size, source)
        prefix = prefix_count(model)
        if tokens.shape[1] <= prefix or not are_square(tokens, prefix):
            raise SpecError(
                f"{PLACE}: {source.name} gives {tokens.shape[1]} tokens, {prefix} of them in front, which leaves no "
                "square of patches",
                remedy="Choose another model.",
            )
        check_pooling(pooling, known_poolings(model, prefix), source.name)
        super().__init__(tokens.shape[2], preprocessing or Preprocessing(image_size), prefix)
        self.model = model
        self.patches = tokens.shape[1] - prefix
        self.source = source
        self.pooling = pooling

    @classmethod
    def from_section(cls, section: HuggingFaceVisionSection, initialise: bool) -> HuggingFaceVisionTower:
        """Build the tower of a spec.

        Args:
            section: `model.vision`.
            initialise: whether to load the weights that the section names.

        Raises:
            SpecError: no such tower can be built.
            CheckpointError: the model cannot be read, or its weights do not fit.
        """
        wanted = section.weights_source if initialise else None
        source = Source.find(section.architecture, weights=wanted is not None and section.init == "pretrained")
        other = section.init not in ("pretrained", "random")

        def statistics() -> Preprocessing:
            folder = model_folder(section.init, "model.vision.init", weights=False) if other else source.folder
            return read_preprocessing(folder, section.image_size)

        tower = cls(
            source,
            section.image_size,
            pooling=section.pooling,
            preprocessing=chosen_preprocessing(section.preprocessing, section.image_size, statistics),
        )
        if wanted is not None:
            tower.load_published(Source.find(section.init, "model.vision.init", weights=True) if other else source)
        return tower

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The repeated blocks or stages, first to last."""
        lists = [module for module in self.model.modules() if isinstance(module, nn.ModuleList)]
        return max(lists, key=len, default=())

    @property
    def pooled_width(self) -> int:
        """Dimension of a pooled vector."""
        if self.pooling != "trunk":
            return self.width
        return int(getattr(self.model.config, "pooler_output_size", None) or self.width)

    def encode(self, normalised: Tensor) -> Tensor:
        """Images (B, 3, H, W), already normalised, to tokens (B, N, D): prefix tokens, then patches."""
        return image_tokens(self.model, normalised)

    def pool(self, tokens: Tensor) -> Tensor:
        """One vector (B, `pooled_width`) per image, from its tokens (B, N, D)."""
        if self.pooling == "cls":
            return tokens[:, 0]
        if self.pooling == "mean":
            return super().pool(tokens)
        return OWN_POOLING[self.model.config.model_type](self.model, tokens)

    def adapt(self, name: str, given: Tensor, own: Tensor) -> Tensor | None:
        """Interpolate the position embeddings of another image size."""
        if "position_embedding" not in name or given.shape[-1] != own.shape[-1]:
            return None
        positions = given.float().reshape(1, -1, given.shape[-1])
        prefix = own.shape[-2] - self.patches  # registers have no positions
        if not are_square(positions, prefix):
            return None
        antialias = self.model.config.model_type in ANTIALIASED
        return resize_positions(positions, own.shape[-2], prefix, antialias=antialias).reshape(own.shape).to(own.dtype)

    def load_published(self, source: Source) -> WeightReport:
        """Load the weights of a model.

        Parts that only an unused pooling reads may be missing.

        Raises:
            CheckpointError: the weights do not fit or cannot be read; the tower is unchanged.
        """
        unused = POOLERS if self.pooling in ("cls", "mean") else ()
        rules = LoadRules(
            required=lambda name: not name.startswith(unused),
            place="model.vision",
            remedy=f"Give an architecture and weights of one model, image_size {source.natural_size}, which it was "
            "trained with, or another pooling (cls, mean) where the weights lack that of the trunk.",
        )
        named = {f"model.{name}": tensor for name, tensor in published_weights(source).items()}
        return load_weights(self, named, str(source.name), rules)
