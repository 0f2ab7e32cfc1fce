"""`caption-check` with an exported bundle; without torch."""

from __future__ import annotations

from cbalign.encoders import Classifier
from cbalign.parts.kinds import Split
from cbalign.tasks.classification.runtime import ClassificationRuntime
from cbalign_example.caption_check.section import CaptionAccuracy


class Runtime(ClassificationRuntime):
    """Implements `cbalign.runtime.task.TaskRuntime`."""

    def default_evaluation(self, model: Classifier, split: Split) -> CaptionAccuracy:
        """Return the evaluation of a model whose spec lists none."""
        return CaptionAccuracy(kind="caption-accuracy", on=split)
