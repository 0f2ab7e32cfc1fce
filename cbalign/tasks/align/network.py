"""The model of pretraining and retrieval."""

from __future__ import annotations

from cbalign.data.text import VocabularyInfo
from cbalign.experiment.experiment import Experiment
from cbalign.models.alignment import AlignmentModel
from cbalign.models.build import build_model


def build_alignment(experiment: Experiment, vocabulary: VocabularyInfo, *, initialise: bool) -> AlignmentModel:
    """Build the model of an experiment.

    Args:
        experiment: a complete spec.
        vocabulary: that of the tokenizer.
        initialise: whether to load the weights that the spec names.
    """
    return build_model(experiment, vocabulary.size, pretrained=initialise)
