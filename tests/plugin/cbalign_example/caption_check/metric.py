"""The accuracy of models of `caption-check`; without torch."""

from __future__ import annotations

from cbalign.data.items import Pair
from cbalign.data.progress import ProgressCallback, no_progress
from cbalign.data.source import Source
from cbalign.encoders import Classifier
from cbalign.evaluation.process_group import SINGLE_PROCESS, ProcessGroup
from cbalign.evaluation.scored import ScoredResult
from cbalign.tasks.classification.metric import AccuracyEvaluator
from cbalign_example.caption_check.items import Captions


class CaptionEvaluator(AccuracyEvaluator):
    """Implements `cbalign.evaluation.evaluator.Evaluator` for pairs."""

    def evaluate(
        self,
        model: Classifier,
        source: Source[Pair],
        *,
        corrupt_limit: float = 0.0,
        report: ProgressCallback = no_progress,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> tuple[ScoredResult, ...]:
        """Measure accuracy on each pair's own caption and on a wrong one."""
        return super().evaluate(
            model, Captions(source), corrupt_limit=corrupt_limit, report=report, process_group=process_group
        )
