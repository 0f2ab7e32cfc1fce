"""Every tensor of the model that a spec describes, by name and shape, without building it.

What `cbalign.models.build` makes of the spec has exactly these tensors in its checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from cbalign.errors import CheckpointError
from cbalign.experiment.architectures import BERTS, BertConfig, read_bert_config, stem_channels, vit_config
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.model import ModelSection
from cbalign.models.sections.towers import TextSection, VisionSection
from cbalign.tasks.nlvr2.section import NLVR2Task
from cbalign.tasks.vqa.section import VQATask

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
_Named = Iterator[tuple[str, Shape]]

TEACHER = "teacher."
_BUFFERS = ("image_queue.", "text_queue.", "objectives.codebook.codebook.last_used")
_HEAD = "objectives.masked_language.head"
_TEACHERS = (TEACHER, f"{_HEAD}.{TEACHER}")
_WHOLE_NUMBERS = ("image_ids", "pointer", "filled", "last_used")  # int64, all others are float32


class UnknownSizes(Exception):
    """A spec alone does not tell the sizes of its model; the message says why."""


def tensor_shapes(experiment: Experiment, vocabulary: int | None = None) -> Shapes:
    """The tensors of a checkpoint of an experiment.

    Args:
        experiment: a complete spec.
        vocabulary: number of tokens that the tokenizer knows, where that is known.

    Raises:
        UnknownSizes: an architecture whose sizes are not known here, or a vocabulary that is.
    """
    if not experiment.aligns:
        return _finetuned(experiment, _bert(experiment.model.text, vocabulary))
    model = experiment.model
    text = _bert(model.text, vocabulary)
    width, towers = _towers(experiment, text)
    named = {f"{owner}{name}": shape for owner in ("student.", "teacher.network.") for name, shape in towers.items()}
    for queue in ("image_queue", "text_queue"):
        named |= {
            f"{queue}.features": (model.queue.length, model.joint_dim),
            f"{queue}.image_ids": (model.queue.length,),
        }
        named |= {f"{queue}.pointer": (), f"{queue}.filled": ()}
    named["temperature.value"] = ()
    if experiment.needs_codebook:
        named["objectives.codebook.codebook.prototypes"] = (model.codebook.size, model.joint_dim)
        named["objectives.codebook.codebook.last_used"] = (2, model.codebook.size)
    if experiment.needs_matching:
        named |= dict(_linear("objectives.matching.head", width, 2))
    if experiment.needs_masked_language:
        for owner in ("student", "teacher.network"):
            named |= dict(_word_head(f"{_HEAD}.{owner}", text))
    return named


def trainable_parameters(experiment: Experiment, shapes: Shapes) -> int:
    """Parameters that the optimiser moves."""
    fixed = (*_TEACHERS, *_BUFFERS, *(() if experiment.model.temperature.learned else ("temperature.",)))
    if not experiment.aligns:
        fixed = (*fixed, "student.image_projection.")  # tells images apart for text assignment, as pretrained
    return sum(math.prod(shape) for name, shape in shapes.items() if not name.startswith(fixed))


def teacher_parameters(shapes: Shapes) -> int:
    """Parameters of the momentum teacher."""
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(_TEACHERS))


def state_bytes(shapes: Shapes) -> int:
    """Bytes of all tensors: student, teacher, queues, codebook."""
    return sum(math.prod(shape) * (8 if name.endswith(_WHOLE_NUMBERS) else 4) for name, shape in shapes.items())


def _bert(section: TextSection, vocabulary: int | None) -> BertConfig:
    config = BERTS.get(section.architecture)
    if config is None:
        folder = Path(section.architecture)
        if not folder.is_dir():
            raise UnknownSizes(f"the sizes of {section.architecture} are not on this machine")
        try:
            config = read_bert_config(folder / "config.json")
        except CheckpointError as error:
            raise UnknownSizes(error.message) from error
    if vocabulary is None:
        if section.tokenizer == "captions":
            raise UnknownSizes(f"the vocabulary comes from the captions, at most {section.vocabulary:,} tokens")
        vocabulary = config.vocabulary
    return BertConfig(
        vocabulary=vocabulary,
        width=section.width or config.width,
        layers=config.layers,
        heads=config.heads,
        intermediate=section.intermediate or config.intermediate,
        positions=config.positions,
        types=config.types,
    )


def _finetuned(experiment: Experiment, text: BertConfig) -> Shapes:
    """The tensors of a student and a teacher that classify or answer."""
    model, task = experiment.model, experiment.task
    image_width, named = _encoders(model, text)
    if isinstance(task, NLVR2Task):
        for layer in range(model.fusion.layers):
            first = dict(_bert_layer(f"fusion.first.{layer}", text, image_width))
            shared = (f"fusion.first.{layer}.cross_attention.key.", f"fusion.first.{layer}.cross_attention.value.")
            named |= first
            named |= {n.replace(".first.", ".second."): s for n, s in first.items() if not n.startswith(shared)}
    else:
        named |= _fusion(model, text, image_width)
    match task:
        case VQATask():
            named |= {f"decoder.{name}": shape for name, shape in _answer_decoder(model, text)}
        case NLVR2Task(stage="text-assignment"):
            named |= dict(_linear("head", text.width, 3))
            named |= dict(_linear("image_projection", image_width, model.joint_dim))
        case _:
            named |= dict(_linear("head.hidden", text.width, text.width))
            named |= dict(_linear("head.output", text.width, 2 if isinstance(task, NLVR2Task) else 3))
    return {f"{owner}{name}": shape for owner in ("student.", "teacher.network.") for name, shape in named.items()}


def _answer_decoder(model: ModelSection, text: BertConfig) -> _Named:
    yield from _embeddings("embeddings", text)
    for layer in range(model.fusion.layers):
        yield from _bert_layer(f"layers.{layer}", text, text.width)
    yield from _word_head("head", text)


def _towers(experiment: Experiment, text: BertConfig) -> tuple[int, dict[str, Shape]]:
    """The text tower's width, and what student and teacher of alignment have each."""
    model = experiment.model
    image_width, named = _encoders(model, text)
    if experiment.objectives.fuses:
        named |= _fusion(model, text, image_width)
    named |= dict(_linear("image_projection", image_width, model.joint_dim))
    named |= dict(_linear("text_projection", text.width, model.joint_dim))
    return text.width, named


def _encoders(model: ModelSection, text: BertConfig) -> tuple[int, dict[str, Shape]]:
    """The image tower's width, and the tensors of both towers."""
    image_width, vision = _vision(model.vision)
    named = {f"vision.transformer.{name}": shape for name, shape in vision}
    named |= dict(_embeddings("text.embeddings", text))
    for layer in range(model.text.layers):
        named |= dict(_bert_layer(f"text.layers.{layer}", text, None))
    return image_width, named


def _embeddings(name: str, text: BertConfig) -> _Named:
    for kind, rows in (("words", text.vocabulary), ("positions", text.positions), ("types", text.types)):
        yield f"{name}.{kind}.weight", (rows, text.width)
    yield from _norm(f"{name}.norm", text.width)


def _fusion(model: ModelSection, text: BertConfig, image_width: int) -> dict[str, Shape]:
    layers = range(model.fusion.layers)
    return {n: s for layer in layers for n, s in _bert_layer(f"fusion.layers.{layer}", text, image_width)}


def _word_head(name: str, text: BertConfig) -> _Named:
    yield f"{name}.bias", (text.vocabulary,)
    yield from _linear(f"{name}.transform", text.width, text.width)
    yield from _norm(f"{name}.norm", text.width)


def _vision(section: VisionSection) -> tuple[int, _Named]:
    """The image tower's width and its tensors by timm's names."""
    config = vit_config(section.architecture)
    if config is None:
        raise UnknownSizes(f"the sizes of {section.architecture} are not known without timm")
    width, patch = section.width or config.width, section.patch_size or config.patch_size

    def named() -> _Named:
        yield "cls_token", (1, 1, width)
        yield "pos_embed", (1, 1 + (section.image_size // patch) ** 2, width)
        yield from _stem(section, width, patch)
        for block in range(section.layers or config.layers):
            yield from _norm(f"blocks.{block}.norm1", width)
            yield from _linear(f"blocks.{block}.attn.qkv", width, 3 * width)
            yield from _linear(f"blocks.{block}.attn.proj", width, width)
            yield from _norm(f"blocks.{block}.norm2", width)
            yield from _linear(f"blocks.{block}.mlp.fc1", width, 4 * width)
            yield from _linear(f"blocks.{block}.mlp.fc2", 4 * width, width)
        yield from _norm("norm", width)

    return width, named()


def _stem(section: VisionSection, width: int, patch: int) -> _Named:
    name = "patch_embed.proj"
    if section.stem == "patches":
        yield f"{name}.weight", (width, 3, patch, patch)
        yield f"{name}.bias", (width,)
        return
    inputs = 3
    for index, channels in enumerate(stem_channels(width, patch)):
        yield f"{name}.halvings.{index}.convolution.weight", (channels, inputs, 3, 3)
        yield from _norm(f"{name}.halvings.{index}.norm", channels)
        inputs = channels
    yield f"{name}.projection.weight", (width, inputs, 1, 1)
    yield f"{name}.projection.bias", (width,)


def _bert_layer(name: str, text: BertConfig, image_width: int | None) -> _Named:
    yield from _attention(f"{name}.attention", text.width, text.width)
    if image_width is not None:
        yield from _attention(f"{name}.cross_attention", text.width, image_width)
    yield from _linear(f"{name}.feed_forward.expand", text.width, text.intermediate)
    yield from _linear(f"{name}.feed_forward.contract", text.intermediate, text.width)
    yield from _norm(f"{name}.feed_forward.norm", text.width)


def _attention(name: str, width: int, source_width: int) -> _Named:
    yield from _linear(f"{name}.query", width, width)
    yield from _linear(f"{name}.key", source_width, width)
    yield from _linear(f"{name}.value", source_width, width)
    yield from _linear(f"{name}.output", width, width)
    yield from _norm(f"{name}.norm", width)


def _linear(name: str, inputs: int, outputs: int) -> _Named:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> _Named:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)
