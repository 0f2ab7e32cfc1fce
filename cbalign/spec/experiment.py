"""The whole spec: one experiment."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from cbalign.spec.data import DataSection
from cbalign.spec.evaluation import RetrievalEvaluation
from cbalign.spec.export import ExportSection
from cbalign.spec.model import ModelSection
from cbalign.spec.objectives import ObjectivesSection
from cbalign.spec.section import Effect, RuleError, Section, setting, subsection
from cbalign.spec.training import TrainSection

FORMAT = 1


class PretrainTask(Section):
    """Pretraining: align, match and predict masked words."""

    kind: Literal["pretrain"] = setting("pretrain", effect=Effect.ARCHITECTURE, help="Which task.")


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
    task: PretrainTask = subsection(PretrainTask, help="What is learned.")
    model: ModelSection = subsection(ModelSection, help="What is trained.")
    objectives: ObjectivesSection = subsection(ObjectivesSection, help="The terms of the loss.")
    data: DataSection = subsection(help="Where pairs come from.")
    train: TrainSection = subsection(TrainSection, help="How the model is trained.")
    evaluate: tuple[RetrievalEvaluation, ...] = setting((), effect=Effect.EVALUATION, help="What is measured.")
    export: ExportSection = subsection(ExportSection, help="What is exported.")

    @property
    def needs_codebook(self) -> bool:
        """Whether the model has a codebook."""
        return self.objectives.codebook.weight > 0

    @property
    def needs_matching(self) -> bool:
        """Whether the model has a match head."""
        return self.objectives.matching.weight > 0

    @property
    def needs_masked_language(self) -> bool:
        """Whether the model has a masked-language head."""
        return self.objectives.masked_language.weight > 0

    @model_validator(mode="after")
    def _something_to_learn(self) -> Experiment:
        terms = self.objectives
        if not any(t.weight for t in (terms.contrastive, terms.codebook, terms.matching, terms.masked_language)):
            raise RuleError("every objective has weight 0: nothing would be learned", at=("objectives",))
        return self

    @model_validator(mode="after")
    def _evaluations_can_run(self) -> Experiment:
        for i, evaluation in enumerate(self.evaluate):
            item = f"evaluate.{i}"
            if getattr(self.data, evaluation.on) is None:
                raise RuleError(
                    f"evaluate[{i}] is on {evaluation.on}, but data.{evaluation.on} is not set", at=(f"{item}.on", item)
                )
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
        return self

    @model_validator(mode="after")
    def _exports_exist(self) -> Experiment:
        graphs = self.export.graphs
        if graphs != "all":
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
