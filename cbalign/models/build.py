"""From the sections of a spec to a model: the one place that turns sections into modules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from cbalign.data.vocabulary import bert_folder
from cbalign.errors import CheckpointError, SpecError
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.model import ModelSection
from cbalign.models import names
from cbalign.models.alignment import AlignmentModel, Temperature
from cbalign.models.bert import BertConfig, FusionEncoder, MaskedLanguageHead, TextTower
from cbalign.models.codebook import Codebook
from cbalign.models.pretrained import bert_config, read_weights
from cbalign.models.sections.towers import TextSection, VisionSection
from cbalign.models.towers import Towers
from cbalign.models.transport import Solver
from cbalign.models.vision import VisionTower
from cbalign.parts import SolverSection


def build_model(experiment: Experiment, vocabulary: int, *, pretrained: bool = True) -> AlignmentModel:
    """The model of pretraining and retrieval, with its initial weights.

    Args:
        experiment: the whole spec; objectives of weight 0 leave their parts out.
        vocabulary: number of tokens that the tokenizer knows.
        pretrained: False skips reading initial weights, for a checkpoint that replaces them all.
    """
    section = experiment.model
    codebook = (
        Codebook(section.codebook.size, section.joint_dim, section.codebook.temperature)
        if experiment.needs_codebook
        else None
    )
    model = AlignmentModel(
        _towers(experiment, vocabulary, pretrained),
        momentum=section.teacher.momentum,
        queue_length=section.queue.length,
        joint_dim=section.joint_dim,
        temperature=Temperature(
            section.temperature.initial,
            section.temperature.minimum,
            section.temperature.maximum,
            section.temperature.learned,
        ),
        codebook=codebook,
        match_head=experiment.needs_matching,
    )
    return model


def build_solver(section: SolverSection) -> Solver:
    """The transport solver that a codebook section names."""
    solver: Solver = section.build()
    return solver


@dataclass(frozen=True)
class ModelParts:
    """The networks that every model is made of."""

    config: BertConfig
    vision: VisionTower
    text: TextTower
    fusion: FusionEncoder | None
    head: MaskedLanguageHead | None


def build_parts(section: ModelSection, vocabulary: int, pretrained: bool, *, fusion: bool, head: bool) -> ModelParts:
    """Build the networks of a model.

    Args:
        section: sizes and initial weights.
        vocabulary: number of tokens that the tokenizer knows.
        pretrained: whether to load the weights that the section names.
        fusion, head: whether to build fusion layers and the masked-language head.
    """
    config = _text_config(section.text, vocabulary)
    vision = _vision(section.vision, pretrained)
    parts = ModelParts(
        config,
        vision,
        TextTower(config, section.text.layers, section.text.dropout),
        FusionEncoder(config, section.fusion.layers, vision.width, section.text.dropout) if fusion else None,
        MaskedLanguageHead(config) if head else None,
    )
    if pretrained and section.text.init == "pretrained":
        _load_bert(section, parts.text, parts.fusion, parts.head)
    return parts


def _towers(experiment: Experiment, vocabulary: int, pretrained: bool) -> Towers:
    section, head = experiment.model, experiment.needs_masked_language
    parts = build_parts(section, vocabulary, pretrained, fusion=experiment.needs_matching or head, head=head)
    return Towers(parts.vision, parts.text, parts.fusion, parts.head, section.joint_dim, section.text.pooling)


def _text_config(section: TextSection, vocabulary: int) -> BertConfig:
    config = bert_config(section.architecture)
    sizes = {"width": section.width, "heads": section.heads, "intermediate": section.intermediate}
    config = replace(config, vocabulary=vocabulary, **{n: v for n, v in sizes.items() if v is not None})
    if config.width % config.heads:
        raise SpecError(f"model.text: width {config.width} is not a multiple of heads {config.heads}")
    if section.max_tokens > config.positions:
        raise SpecError(
            f"model.text.max_tokens: {section.max_tokens}, but {section.architecture} has {config.positions} positions"
        )
    return config


def _vision(section: VisionSection, pretrained: bool) -> VisionTower:
    tower = VisionTower(
        section.architecture,
        section.image_size,
        patch_size=section.patch_size,
        layers=section.layers,
        width=section.width,
        heads=section.heads,
        stem=section.stem,
        drop_path=section.drop_path,
    )
    if pretrained and section.init != "random":
        if section.init == "pretrained":
            weights, origin = _timm_weights(section.architecture), f"timm's {section.architecture}"
        else:
            weights, origin = read_weights(Path(section.init)), section.init
        tower.load_timm(weights, origin)
    return tower


def _timm_weights(architecture: str) -> dict[str, Tensor]:
    try:
        published: nn.Module = timm.create_model(architecture, pretrained=True, num_classes=0)
    except Exception as error:  # timm and the hub client raise many kinds
        raise CheckpointError(
            f"model.vision.init: the weights of {architecture} cannot be fetched: {str(error).splitlines()[0]}",
            remedy="Check the network, set init to a local file of timm weights, or set init: random.",
        ) from error
    return dict(published.state_dict())


def _load_bert(
    section: ModelSection, text: TextTower, fusion: FusionEncoder | None, head: MaskedLanguageHead | None
) -> None:
    """Fill the text tower from a BERT's first layers and the fusion encoder from its last."""
    origin = bert_folder(section.text.architecture)
    weights = names.canonical_bert(read_weights(origin))
    available = names.bert_layers(weights)
    for where, count in (("text", section.text.layers), ("fusion", section.fusion.layers if fusion else 0)):
        if count > available:
            raise SpecError(
                f"model.{where}.layers: {count} layers, but {section.text.architecture} has {available}",
                remedy=f"Set model.{where}.layers to {available} or fewer, or init: random.",
            )
    _fill(
        text,
        names.embeddings_from_bert(weights) | names.layers_from_bert(weights, 0, section.text.layers),
        origin,
    )
    if fusion is not None:
        layers = section.fusion.layers
        new = tuple(n for n in fusion.state_dict() if ".cross_attention." in n)
        _fill(fusion, names.layers_from_bert(weights, available - layers, layers), origin, may_lack=new)
    if head is not None:
        # Sentence encoders come without BERT's head; it then starts at random.
        found = names.head_from_bert(weights)
        _fill(head, found, origin, may_lack=tuple(head.state_dict()) if not found else ())


def _fill(module: nn.Module, weights: dict[str, Tensor], origin: Path, may_lack: tuple[str, ...] = ()) -> None:
    own = module.state_dict()
    for name, tensor in own.items():
        if name not in weights:
            if name in may_lack:
                continue
            raise CheckpointError(f"{origin} lacks a tensor of a BERT: {name}")
        if weights[name].shape != tensor.shape:
            raise CheckpointError(
                f"{origin}: {name} has shape {tuple(weights[name].shape)}, the spec wants {tuple(tensor.shape)}"
            )
    with torch.no_grad():
        for name, tensor in own.items():
            if name in weights:
                tensor.copy_(weights[name])
