"""The whole spec: one experiment."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from cbalign.experiment.data import DataSection
from cbalign.experiment.evaluation import EvaluationSection, RetrievalEvaluation
from cbalign.experiment.export import ExportSection
from cbalign.experiment.legacy import LegacySection
from cbalign.experiment.model import ModelSection
from cbalign.experiment.objectives import ObjectivesSection
from cbalign.parts.section import Effect, RuleError, Section, setting, subsection
from cbalign.experiment.task import InitSection, PretrainTask, RetrievalTask, TaskSection
from cbalign.experiment.training import TrainSection

FORMAT = 1


class Experiment(Section):
    """One experiment, complete: every default filled in."""

    cbalign: Literal[1] = setting(effect=Effect.LABEL, help="Version of the spec format.")
    name: str = setting(
        effect=Effect.LABEL,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        examples=["openmoji-codis"],
        help="Names runs and bundles: letters, digits, . _ -",
    )
    description: str = setting("", effect=Effect.LABEL, help="What the experiment is for, in a sentence.")
    task: TaskSection = subsection(PretrainTask, help="What is learned.")
    init: InitSection | None = setting(
        None,
        effect=Effect.INITIALISATION,
        help="A trained model to start from; null: what `model.vision.init` and `model.text.init` say.",
    )
    model: ModelSection = subsection(ModelSection, help="What is trained.")
    objectives: ObjectivesSection = subsection(
        ObjectivesSection, help="The terms of the loss of pretraining and retrieval; other tasks have their own."
    )
    data: DataSection = subsection(help="Where the data come from.")
    train: TrainSection = subsection(TrainSection, help="How the model is trained.")
    evaluate: tuple[EvaluationSection, ...] = setting((), effect=Effect.EVALUATION, help="What is measured.")
    export: ExportSection = subsection(ExportSection, help="What is exported.")

    legacy: LegacySection = subsection(LegacySection, help="Quirks of the published code, to reproduce its numbers.")

    @property
    def aligns(self) -> bool:
        """Whether the task is to align images and texts, by `objectives`."""
        return isinstance(self.task, PretrainTask | RetrievalTask)

    @property
    def needs_codebook(self) -> bool:
        """Whether the model has a codebook."""
        return self.aligns and self.objectives.codebook.weight > 0

    @property
    def needs_matching(self) -> bool:
        """Whether the model has a match head."""
        return self.aligns and self.objectives.matching.weight > 0

    @property
    def needs_masked_language(self) -> bool:
        """Whether the model has a masked-language head."""
        return self.aligns and self.objectives.masked_language.weight > 0

    @model_validator(mode="after")
    def _something_to_learn(self) -> Experiment:
        terms = self.objectives
        weights = (terms.contrastive.weight, terms.codebook.weight, terms.matching.weight, terms.masked_language.weight)
        if self.aligns and not any(weights):
            raise RuleError("every objective has weight 0: nothing would be learned", at=("objectives",))
        return self

    @model_validator(mode="after")
    def _data_suit_the_task(self) -> Experiment:
        for split in ("train", "validation", "test"):
            section = getattr(self.data, split)
            if section is not None and self.task.items not in section.items:
                raise RuleError(
                    f"data.{split}: {section.source} has {' and '.join(section.items)}, but task {self.task.kind} "
                    f"learns from {self.task.items}",
                    at=(f"data.{split}.source", "task.kind", f"data.{split}"),
                )
        return self

    @model_validator(mode="after")
    def _evaluations_can_run(self) -> Experiment:
        for i, evaluation in enumerate(self.evaluate):
            item = f"evaluate.{i}"
            if evaluation.kind != self.task.evaluation:
                raise RuleError(
                    f"evaluate[{i}] is of kind {evaluation.kind}, but task {self.task.kind} is evaluated by "
                    f"{self.task.evaluation}",
                    at=(f"{item}.kind", item),
                )
            if getattr(self.data, evaluation.on) is None:
                raise RuleError(
                    f"evaluate[{i}] is on {evaluation.on}, but data.{evaluation.on} is not set", at=(f"{item}.on", item)
                )
            if isinstance(evaluation, RetrievalEvaluation):
                self._check_protocols(evaluation, i)
        return self

    def _check_protocols(self, evaluation: RetrievalEvaluation, i: int) -> None:
        item = f"evaluate.{i}"
        if "rerank" in evaluation.protocols and not self.needs_matching:
            raise RuleError(
                f"evaluate[{i}] asks for rerank, but objectives.matching.weight is 0: no match head",
                at=(f"{item}.protocols", item),
            )
        if "code" in evaluation.protocols and not self.needs_codebook:
            raise RuleError(
                f"evaluate[{i}] asks for code, but objectives.codebook.weight is 0: no codebook",
                at=(f"{item}.protocols", item),
            )

    @model_validator(mode="after")
    def _exports_exist(self) -> Experiment:
        graphs = self.export.graphs
        if graphs != "all" and self.aligns:
            if "codebook" in graphs and not self.needs_codebook:
                raise RuleError(
                    "export.graphs lists codebook, but objectives.codebook.weight is 0: no codebook",
                    at=("export.graphs",),
                )
            if "match" in graphs and not self.needs_matching:
                raise RuleError(
                    "export.graphs lists match, but objectives.matching.weight is 0: no match head",
                    at=("export.graphs",),
                )
        return self
