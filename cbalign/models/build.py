"""From the sections of a spec to a model: the one place that turns sections into modules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from cbalign.data.items import ENTAILMENT_LABELS, STATEMENT_LABELS
from cbalign.data.vocabulary import bert_folder
from cbalign.errors import CheckpointError, SpecError
from cbalign.experiment.model import ModelSection
from cbalign.models import names
from cbalign.models.answering import AnswerDecoder, AnsweringNetwork
from cbalign.models.bert import BertConfig, FusionEncoder, MaskedLanguageHead, TextTower
from cbalign.models.entailment import EntailmentNetwork
from cbalign.models.image_pairs import ImagePairNetwork, PairFusionEncoder, TextAssignmentNetwork
from cbalign.models.image_text import ClassificationHead
from cbalign.models.momentum import Distilled
from cbalign.models.pretrained import bert_config, read_weights
from cbalign.models.sections.towers import TextSection, VisionSection
from cbalign.models.towers import Towers
from cbalign.models.vision import VisionTower


def build_towers(section: ModelSection, vocabulary: int, *, fusion: bool, initialise: bool) -> Towers:
    """Build the towers of pretraining and retrieval.

    Args:
        section: sizes and initial weights.
        vocabulary: number of tokens that the tokenizer knows.
        fusion: whether an objective reads fused tokens.
        initialise: False skips reading initial weights, for a checkpoint that replaces them all.
    """
    parts = _parts(section, vocabulary, initialise, fusion=fusion, head=False)
    return Towers(parts.vision, parts.text, parts.fusion, section.joint_dim, section.text.pooling)


def build_word_head(section: ModelSection, vocabulary: int, *, initialise: bool) -> MaskedLanguageHead:
    """Build BERT's head over the vocabulary for the text tower of a model; arguments as for `build_towers`."""
    head = MaskedLanguageHead(_text_config(section.text, vocabulary))
    if initialise and section.text.init == "pretrained":
        origin = bert_folder(section.text.architecture)
        _load_head(head, names.canonical_bert(read_weights(origin)), origin)
    return head


def build_entailment(
    section: ModelSection, vocabulary: int, *, pretrained: bool = True
) -> Distilled[EntailmentNetwork]:
    """The model of the task `entailment`; arguments as for `build_towers`."""
    parts = _parts(section, vocabulary, pretrained, fusion=True, head=False)
    assert parts.fusion is not None
    network = EntailmentNetwork(parts.vision, parts.text, parts.fusion, len(ENTAILMENT_LABELS))
    return Distilled(network, section.teacher.momentum)


def build_answering(section: ModelSection, vocabulary: int, *, pretrained: bool = True) -> Distilled[AnsweringNetwork]:
    """The model of the task `vqa`, its decoder as the fusion layers; arguments as for `build_towers`."""
    parts = _parts(section, vocabulary, pretrained, fusion=True, head=True)
    assert parts.fusion is not None
    decoder = AnswerDecoder(parts.config, section.fusion.layers, section.text.dropout)
    decoder.start_from(parts.text, parts.fusion, parts.head)
    network = AnsweringNetwork(parts.vision, parts.text, parts.fusion, decoder)
    return Distilled(network, section.teacher.momentum)


def build_image_pairs(
    section: ModelSection, vocabulary: int, *, pretrained: bool = True
) -> Distilled[ImagePairNetwork]:
    """The model of the task `nlvr2`; arguments as for `build_towers`."""
    parts, fusion = _doubled(section, vocabulary, pretrained)
    head = ClassificationHead(parts.config.width, len(STATEMENT_LABELS))
    return Distilled(ImagePairNetwork(parts.vision, parts.text, fusion, head), section.teacher.momentum)


def build_text_assignment(
    section: ModelSection, vocabulary: int, *, pretrained: bool = True
) -> Distilled[TextAssignmentNetwork]:
    """The model of the text-assignment stage of `nlvr2`; arguments as for `build_towers`."""
    parts, fusion = _doubled(section, vocabulary, pretrained)
    network = TextAssignmentNetwork(parts.vision, parts.text, fusion, section.joint_dim)
    return Distilled(network, section.teacher.momentum)


def _doubled(section: ModelSection, vocabulary: int, pretrained: bool) -> tuple[_Parts, PairFusionEncoder]:
    """Towers, and fusion layers of which both copies are the published ones where these are to be read."""
    parts = _parts(section, vocabulary, pretrained, fusion=True, head=False)
    assert parts.fusion is not None
    fusion = PairFusionEncoder(parts.config, section.fusion.layers, parts.vision.width, section.text.dropout)
    if pretrained:
        fusion.start_from(parts.fusion)
    return parts, fusion


@dataclass(frozen=True)
class _Parts:
    """The networks that every model is made of."""

    config: BertConfig
    vision: VisionTower
    text: TextTower
    fusion: FusionEncoder | None
    head: MaskedLanguageHead | None


def _parts(section: ModelSection, vocabulary: int, pretrained: bool, *, fusion: bool, head: bool) -> _Parts:
    config = _text_config(section.text, vocabulary)
    vision = _vision(section.vision, pretrained)
    parts = _Parts(
        config,
        vision,
        TextTower(config, section.text.layers, section.text.dropout),
        FusionEncoder(config, section.fusion.layers, vision.width, section.text.dropout) if fusion else None,
        MaskedLanguageHead(config) if head else None,
    )
    if pretrained and section.text.init == "pretrained":
        _load_bert(section, parts.text, parts.fusion, parts.head)
    return parts


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
        _load_head(head, weights, origin)


def _load_head(head: MaskedLanguageHead, weights: dict[str, Tensor], origin: Path) -> None:
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
