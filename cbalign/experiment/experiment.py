"""The whole spec: one experiment."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from cbalign.errors import UsageError
from cbalign.experiment.data import DataSection
from cbalign.experiment.evaluation import Evaluation
from cbalign.experiment.export import ExportSection
from cbalign.experiment.legacy import LegacySection
from cbalign.experiment.log import LogSection
from cbalign.experiment.model import ModelSection
from cbalign.experiment.objectives import ObjectivesSection, providers
from cbalign.experiment.task import InitSection, Task
from cbalign.experiment.training import TrainSection
from cbalign.experiment.unions import usable
from cbalign.parts import Effect, RuleError, Section, setting
from cbalign.parts.metrics import Criterion, matching, may_match
from cbalign.parts.registry import TASKS
from cbalign.parts.section import subsection

FORMAT = 1
MAX_NAME = 200  # characters; names of runs are longer by 24, and file systems take 255


class Experiment(Section):
    """A complete experiment, with every default filled in."""

    cbalign: Literal[1] = setting(effect=Effect.LABEL, help="Version of the spec format.")
    name: str = setting(
        effect=Effect.LABEL,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=MAX_NAME,
        examples=["openmoji-codis"],
        help="Name of runs and bundles: letters, digits, . _ -",
    )
    description: str = setting("", effect=Effect.LABEL, help="Purpose of the experiment, in a sentence.")
    task: Task = subsection(usable(TASKS)["pretrain"], help="The task to learn.")
    requires: tuple[str, ...] = setting(
        (),
        unordered=True,
        effect=Effect.LABEL,
        examples=["cbalign-sigmoid>=1.0"],
        help="Distributions that provide parts used by the spec, as pip names them; runs and bundles list theirs.",
    )
    init: InitSection | None = setting(
        None,
        effect=Effect.INITIALISATION,
        help="Trained model to start from; null: initialise by `model.vision.init` and `model.text.init`.",
    )
    model: ModelSection = subsection(ModelSection, help="Model architecture.")
    objectives: ObjectivesSection = subsection(
        ObjectivesSection, help="Loss terms of pretraining and retrieval; other tasks have their own."
    )
    data: DataSection = subsection(help="Data sources and augmentation.")
    train: TrainSection = subsection(TrainSection, help="Training settings.")
    evaluate: tuple[Evaluation, ...] = setting((), effect=Effect.EVALUATION, help="Evaluations to run.")
    log: LogSection = subsection(LogSection, help="Metric trackers.")
    export: ExportSection = subsection(ExportSection, help="Export settings.")

    legacy: LegacySection = subsection(LegacySection, help="Bugs of the published code, for reproducing its numbers.")

    @property
    def capabilities(self) -> frozenset[str]:
        """Capabilities that the objectives give the model: `codebook`, `matching`, `masked_language`, …"""
        return self.objectives.provides if self.task.aligns else frozenset()

    @model_validator(mode="after")
    def _something_to_learn(self) -> Experiment:
        if self.task.aligns and not self.objectives.active():
            raise RuleError("every objective has weight 0: nothing would be learned", at=("objectives",))
        return self

    @property
    def keeps_teacher(self) -> bool:
        """Whether the model has a momentum teacher: if a loss may read it, and it is not switched off."""
        return self.model.teacher.enabled and (not self.task.aligns or self.objectives.reads_teacher)

    @model_validator(mode="after")
    def _the_teacher_exists(self) -> Experiment:
        if self.task.aligns and not self.model.teacher.enabled:
            for name, section in self.objectives.active().items():
                if section.teacher == "required":
                    raise RuleError(
                        f"objectives.{name} compares with the teacher, but model.teacher.enabled is false; set "
                        f"objectives.{name}.weight: 0 (objectives.clip and objectives.siglip need no teacher)",
                        at=(f"objectives.{name}.weight", f"objectives.{name}", "model.teacher.enabled"),
                    )
        return self

    @model_validator(mode="after")
    def _queues_hold_something(self) -> Experiment:
        if self.task.aligns and not self.keeps_teacher and self.model.queue.length:
            raise RuleError(
                f"the queues keep {self.model.queue.length:,} features of the teacher, which this model does not have; "
                "set model.queue.length: 0",
                at=("model.queue.length", "model.queue", "model.teacher.enabled", "objectives"),
            )
        return self

    @model_validator(mode="after")
    def _objectives_have_what_they_read(self) -> Experiment:
        provided: dict[str, str] = {}
        for name, section in self.objectives.active().items() if self.task.aligns else ():
            for capability in section.provides:
                if capability in provided:
                    raise RuleError(
                        f"objectives.{provided[capability]} and objectives.{name} both have a {capability}; set the "
                        "weight of one of them to 0",
                        at=(f"objectives.{name}", f"objectives.{provided[capability]}"),
                    )
                provided[capability] = name
            at = (f"objectives.{name}", f"objectives.{name}.weight")
            for capability in sorted(section.needs):
                self._require(f"objectives.{name} uses the {capability}", capability, at)
            if section.reads_second_view and not self.data.two_views:
                raise RuleError(
                    f"objectives.{name} compares two views of each image; set data.augmentation.two_views: true",
                    at=("data.augmentation.two_views", *at),
                )
        return self

    @model_validator(mode="after")
    def _several_captions_are_positives(self) -> Experiment:
        if self.data.captions_per_image == 1:
            return self
        if not self.task.aligns:
            raise RuleError(
                f"data.captions_per_image is {self.data.captions_per_image}, but task {self.task.kind} does not learn "
                "from captions by objectives",
                at=("data.captions_per_image", "task.kind"),
            )
        for name, section in self.objectives.active().items():
            if section.separates_captions:
                raise RuleError(
                    f"data.captions_per_image is {self.data.captions_per_image}, but objectives.{name} would take the "
                    f"captions of an image for negatives of each other; set objectives.{name}.positives: image",
                    at=(f"objectives.{name}.positives", "data.captions_per_image", f"objectives.{name}"),
                )
        return self

    @model_validator(mode="after")
    def _masked_words_can_be_predicted(self) -> Experiment:
        if self.task.aligns and self.model.text.lacks_mask_token:
            for name, section in self.objectives.active().items():
                if section.masked_share > 0:
                    raise RuleError(
                        f"objectives.{name} masks words, but the tokenizer of model.text has no mask token; set "
                        f"objectives.{name}.weight: 0",
                        at=(f"objectives.{name}.weight", f"objectives.{name}", "model.text.architecture"),
                    )
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
            if self.task.evaluation not in (evaluation.kind, evaluation.alongside):
                raise RuleError(
                    f"evaluate[{i}] is of kind {evaluation.kind}, but task {self.task.kind} is evaluated by "
                    f"{self.task.evaluation}",
                    at=(f"{item}.kind", item),
                )
            if evaluation.own_data is None:
                self._require_split(evaluation, i)
            for protocol, capability in evaluation.needs.items():
                self._require(f"evaluate[{i}] lists {protocol}", capability, (f"{item}.protocols", item))
        return self

    @model_validator(mode="after")
    def _the_best_is_measured(self) -> Experiment:
        word = self.train.keep_best
        if word is None:
            return self
        if not self.evaluate:
            raise RuleError("train.keep_best needs an evaluation, but `evaluate` is empty", at=("train.keep_best",))
        names: list[str] = []
        for evaluation in self.evaluate:
            if evaluation.metric_names is None:
                return self
            names += [f"{evaluation.on}/{name}" for name in evaluation.metric_names]
        if not may_match(names, word):
            raise RuleError(
                f"train.keep_best: there is no metric {word!r}; the evaluations measure {', '.join(names)}",
                at=("train.keep_best",),
            )
        if matching(names, word):
            try:
                Criterion.of(word, names)
            except UsageError as error:
                raise RuleError(f"train.keep_best: {error.message}", at=("train.keep_best",)) from error
        return self

    @model_validator(mode="after")
    def _exports_exist(self) -> Experiment:
        if self.export.graphs != "all":
            if missing := [graph for graph in self.export.graphs if graph not in self.task.graphs]:
                raise RuleError(
                    f"export.graphs lists {missing[0]}, but the graphs of task {self.task.kind} are "
                    f"{', '.join(self.task.graphs)}",
                    at=("export.graphs",),
                )
            for graph, capability in self.task.graph_needs.items():
                if graph in self.export.graphs:
                    self._require(f"export.graphs lists {graph}", capability, ("export.graphs",))
        return self

    def _require_split(self, evaluation: Evaluation, number: int) -> None:
        """Require that the split of an evaluation exists and has the items that it reads."""
        at = (f"evaluate.{number}.on", f"evaluate.{number}")
        source = getattr(self.data, evaluation.on)
        if source is None:
            raise RuleError(
                f"evaluate[{number}] is on {evaluation.on}, but data.{evaluation.on} is not set "
                f"(in Python, cbalign.train takes it as `{evaluation.on}`)",
                at=at,
            )
        if evaluation.items not in (None, *source.items):
            raise RuleError(
                f"evaluate[{number}], of kind {evaluation.kind}, reads {evaluation.items}, but data.{evaluation.on}, "
                f"a source {source.source}, has {' and '.join(source.items)}; name a file in the evaluation",
                at=at,
            )

    def _require(self, asked: str, capability: str, at: tuple[str, ...]) -> None:
        if capability not in self.capabilities:
            weights = " or ".join(f"objectives.{name}.weight" for name in providers(capability))
            raise RuleError(f"{asked}, which needs {weights} above 0", at=at)
