"""Text towers of transformers: encoders, and the text halves of image-text models such as CLIP and SigLIP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, PretrainedConfig

from cbalign.data.published import CONFIG_FILES, published_folder, published_weights
from cbalign.data.published_tokenizer import FULL_LENGTH
from cbalign.data.vocabulary import PLACE
from cbalign.errors import CheckpointError, SpecError
from cbalign.models import names
from cbalign.models.pretrained import read_weights
from cbalign.models.sections.huggingface_text import HuggingFaceTextSection
from cbalign.models.tower import TextTower
from cbalign.models.weights import LoadRules, WeightReport, load_weights

Pooling = Literal["first", "mean", "end", "trunk"]

CAUSAL = ("clip_text_model",)  # every token reads those before it, so that only the last knows the text
UNUSED_ROWS = 1024
"""More rows of word embeddings than tokens mean that the tokenizer is of another model; a few are padding."""

_DROPOUTS = ("hidden_dropout_prob", "hidden_dropout", "dropout", "dropout_rate", "embedding_dropout", "mlp_dropout")
_ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout")


class HuggingFaceTextTower(TextTower):
    """An encoder of transformers.

    Args:
        config: of the text model.
        pooling: how a text's tokens become one vector; None is `trunk` where the model reads its vector in a place of
            its own (CLIP, SigLIP), and `mean` elsewhere.
        dropout: of the fusion layers that follow; None takes the model's.

    Raises:
        SpecError: transformers has no such text encoder, or it lacks the pooling.
    """

    def __init__(self, config: PretrainedConfig, pooling: Pooling | None = None, dropout: float | None = None) -> None:
        model = _create(config)
        words = model.get_input_embeddings()
        if not isinstance(words, nn.Embedding):
            raise SpecError(f"{PLACE}: {config.model_type} is not a text model")
        super().__init__(
            model.config.hidden_size, words.num_embeddings, _first(config, _DROPOUTS) if dropout is None else dropout
        )
        self.full_length = config.model_type in FULL_LENGTH
        self.causal = config.model_type in CAUSAL
        self.pooling: Pooling = pooling or ("trunk" if self.full_length or self.causal else "mean")
        self.pooler = _detach_pooler(model)
        if self.pooling != "trunk":
            self.pooler = None
        self.model = model
        self._check_pooling(config.model_type)

    @classmethod
    def from_section(cls, section: HuggingFaceTextSection, vocabulary: int, initialise: bool) -> HuggingFaceTextTower:
        """Build the tower of a spec.

        Args:
            section: `model.text`.
            vocabulary: number of tokens that the tokenizer knows.
            initialise: whether to load the published weights that the section names.

        Raises:
            SpecError: no such tower can be built, or settings contradict the model.
            CheckpointError: the configuration or the weights cannot be read or do not fit.
        """
        config = read_config(section.architecture)
        if section.layers is not None:
            _shorten(config, section.layers, section.architecture)
        if section.dropout is not None:
            for name in (*_DROPOUTS, *_ATTENTION_DROPOUTS):
                if hasattr(config, name):
                    setattr(config, name, section.dropout)
        tower = cls(config, section.pooling, section.dropout)
        tower.check_texts(vocabulary, section.max_tokens, section.architecture)
        if initialise and section.starts_from_weights:
            folder = published_weights(section.architecture, PLACE)
            tower.load_published(read_weights(folder), str(folder))
        return tower

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The layers, first to last."""
        count = self.model.config.num_hidden_layers
        lists = (m for m in self.model.modules() if isinstance(m, nn.ModuleList) and len(m) == count)
        return next(lists, ())

    @property
    def word_embeddings(self) -> Tensor:
        """The word matrix (V, D)."""
        matrix: Tensor = self.model.get_input_embeddings().weight
        return matrix

    @property
    def pooled_width(self) -> int:
        """Dimension of the vector that `pool` returns."""
        return self.pooler.out_features if isinstance(self.pooler, nn.Linear) else self.width

    @property
    def positions(self) -> int | None:
        """The longest text in tokens; None if the model has no limit."""
        for name, module in self.model.named_modules():
            if isinstance(module, nn.Embedding) and name.rpartition(".")[2].startswith("position_embedding"):
                # RoBERTa counts positions from the number after that of padding.
                return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        return getattr(self.model.config, "max_position_embeddings", None)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask (B, L), int64, to tokens (B, L, D)."""
        tokens: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return tokens

    def pool(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector (B, D) per text."""
        if self.pooling == "mean":
            return super().pool(tokens, attention_mask)
        if self.pooling == "first":
            return tokens[:, 0]
        if self.pooling == "trunk" and self.pooler is not None and not self.full_length:
            pooled: Tensor = self.pooler(tokens)
            return pooled
        last = last_tokens(tokens, attention_mask)
        return last if self.pooler is None else self.pooler(last)

    def check_texts(self, vocabulary: int, max_tokens: int, architecture: str) -> None:
        """Check that the tokenizer and the limit of texts belong to the model.

        Raises:
            SpecError: they do not.
        """
        if self.positions is not None and max_tokens > self.positions:
            raise SpecError(
                f"model.text.max_tokens: {max_tokens}, but {architecture} has {self.positions} positions",
                remedy=f"Set model.text.max_tokens to {self.positions} or less.",
            )
        if not 0 <= self.vocabulary - vocabulary < UNUSED_ROWS:
            raise SpecError(
                f"{PLACE}: the tokenizer of {architecture} has {vocabulary:,} tokens, its model embeddings of "
                f"{self.vocabulary:,}",
                remedy="Name a folder whose tokenizer and config.json are of one model.",
            )

    def load_published(self, weights: Mapping[str, Tensor], origin: str) -> WeightReport:
        """Load weights by transformers' names, with any prefix; heads, decoders and image halves are left out.

        Raises:
            CheckpointError: a tensor is missing or has another shape; the tower is unchanged.
        """
        given = names.canonical_bert(weights)
        prefix = self._prefix(given)
        if prefix is None:
            raise CheckpointError(
                f"{origin} does not fit model.text: it has no word embeddings of a {type(self.model).__name__}",
                remedy="Name a model whose weights and config.json belong together, or set init: random.",
            )
        inner = {name.removeprefix(prefix): tensor for name, tensor in given.items() if name.startswith(prefix)}
        named = {f"model.{name}": tensor for name, tensor in inner.items()}
        for same in self._tied():
            if (found := next((named[name] for name in same if name in named), None)) is not None:
                named |= dict.fromkeys(same, found)
        for pooler in ("pooler.", "head."):
            named |= {f"pooler.{n.removeprefix(pooler)}": t for n, t in inner.items() if n.startswith(pooler)}
        remedy = "Name a model whose weights and config.json belong together, or set model.text.init: random."
        return load_weights(self, named, origin, LoadRules(place="model.text", remedy=remedy))

    def _prefix(self, weights: Mapping[str, Tensor]) -> str | None:
        """What stands in front of the model's names in a file: `roberta.`, `text_model.`, or nothing."""
        own = [name for same in self._tied() for name in same] or [
            name for name, parameter in self.named_parameters() if parameter is self.word_embeddings
        ]
        for name in (each.removeprefix("model.") for each in own):
            found = [n.removesuffix(name) for n in weights if n == name or n.endswith(f".{name}")]
            if found:
                return min(found, key=len)
        return None

    def _tied(self) -> list[list[str]]:
        """Names of the same tensor, for each that has several."""
        groups: dict[int, list[str]] = {}
        for name, parameter in self.named_parameters(remove_duplicate=False):
            groups.setdefault(id(parameter), []).append(name)
        return [same for same in groups.values() if len(same) > 1]

    def _check_pooling(self, kind: str) -> None:
        if self.pooling == "trunk" and self.pooler is None and not self.causal:
            raise SpecError(
                f"model.text.pooling: {kind} has no pooled vector of its own",
                remedy="Set model.text.pooling to mean, first or end.",
            )
        if self.pooling == "first" and self.causal:
            raise SpecError(
                f"model.text.pooling: the first token of {kind} reads nothing of the text, because each token reads "
                "only those before it",
                remedy="Set model.text.pooling to trunk, end or mean.",
            )


def read_config(architecture: str) -> PretrainedConfig:
    """Read the configuration of a text model, or of the text half of an image-text model.

    Raises:
        CheckpointError: it cannot be found or read.
        SpecError: the model has no text half.
    """
    folder = published_folder(architecture, PLACE, CONFIG_FILES)
    try:
        config = AutoConfig.from_pretrained(str(folder))
    except Exception as error:  # transformers raises many kinds
        raise CheckpointError(
            f"{PLACE}: {folder} has no config.json that transformers can read: {str(error).strip().splitlines()[0]}",
            remedy="Name a model in the form of transformers, with config.json, tokenizer and model.safetensors.",
        ) from error
    config = getattr(config, "text_config", config)
    if not isinstance(getattr(config, "vocab_size", None), int):
        raise SpecError(
            f"{PLACE}: {architecture} is a {config.model_type}, which reads no texts",
            remedy="Name a text encoder, or a model of images and texts such as CLIP.",
        )
    return config


def last_tokens(tokens: Tensor, attention_mask: Tensor) -> Tensor:
    """The last token (B, D) of each text (B, L, D) that is not padding."""
    last = attention_mask.sum(dim=1, keepdim=True) - 1  # (B, 1)
    return tokens.gather(1, last[:, :, None].expand(-1, -1, tokens.shape[-1])).squeeze(1)


def _create(config: PretrainedConfig) -> Any:
    """A model of transformers without weights.

    Attention is written out: scaled_dot_product_attention does not export with every family's masks, and texts are
    short.
    """
    name = type(config).__name__.removesuffix("Config") + "Model"
    try:
        if config.is_encoder_decoder:
            return AutoModelForTextEncoding.from_config(config, attn_implementation="eager")
        if type(config) in AutoModel._model_mapping:
            return AutoModel.from_config(config, attn_implementation="eager")
        return getattr(transformers, name)._from_config(config, attn_implementation="eager")
    except (ValueError, AttributeError, ImportError, KeyError) as error:
        raise SpecError(
            f"{PLACE}: transformers cannot build a text encoder of type {config.model_type!r}: "
            f"{str(error).strip().splitlines()[0]}",
            remedy="Name an encoder such as BERT, RoBERTa, ModernBERT, CLIP, SigLIP or T5.",
        ) from error


def _detach_pooler(model: Any) -> nn.Module | None:
    """Take the layers that pool out of a model, which then computes tokens only."""
    pooler = getattr(model, "pooler", None)
    if isinstance(pooler, nn.Module):
        model.pooler = None
        return pooler
    head = getattr(model, "head", None)
    if isinstance(head, nn.Linear):  # SigLIP
        model.head = nn.Identity()
        return head
    return None


def _shorten(config: Any, layers: int, architecture: str) -> None:
    """Keep the first layers."""
    if layers > config.num_hidden_layers:
        raise SpecError(
            f"model.text.layers: {layers} layers, but {architecture} has {config.num_hidden_layers}",
            remedy=f"Set model.text.layers to {config.num_hidden_layers} or fewer, or to null for all.",
        )
    config.num_hidden_layers = layers
    if isinstance(getattr(config, "layer_types", None), list):
        config.layer_types = config.layer_types[:layers]


def _first(config: PretrainedConfig, attributes: Iterable[str]) -> float:
    found = (getattr(config, name, None) for name in attributes)
    return next((float(value) for value in found if isinstance(value, float | int)), 0.0)
