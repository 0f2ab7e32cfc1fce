"""From the sections of a spec to a model: the one place that turns sections into modules."""

from __future__ import annotations

from cbalign.experiment.experiment import Experiment
from cbalign.models.alignment import AlignmentModel, Temperature
from cbalign.models.backbone import build_backbone
from cbalign.models.codebook import Codebook
from cbalign.models.towers import Towers
from cbalign.models.transport import Solver
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


def _towers(experiment: Experiment, vocabulary: int, pretrained: bool) -> Towers:
    section, head = experiment.model, experiment.needs_masked_language
    fusion = experiment.needs_matching or head
    parts = build_backbone(section, vocabulary, initialise=pretrained, fusion=fusion, head=head)
    return Towers(parts.vision, parts.text, parts.fusion, parts.head, section.joint_dim)
