"""Base classes of the kinds of parts, with the interface of each kind.

Each base class documents how `builds` is called for its kind. Those of an export are in `cbalign.parts.exports`, those
of towers in `cbalign.parts.towers`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypeAlias

# Plug-ins import these from here.
from cbalign.parts.exports import ParityLimits as ParityLimits
from cbalign.parts.exports import PrecisionSection as PrecisionSection
from cbalign.parts.exports import TargetSection as TargetSection
from cbalign.parts.part import Part
from cbalign.parts.section import Effect, setting

ItemKind: TypeAlias = str
"""The name of a kind of training items, which a source has and a task learns from.

cbalign's own are `pairs` of image and text, `questions`, `statements` about two images, `premises` with hypotheses, and
`foils`, which are only evaluated.
"""

Split = Literal["train", "validation", "test"]


class ObjectiveSection(Part):
    """A term of the loss, under its `name` in `objectives`.

    `builds` is called with (section, `cbalign.objectives.objective.ObjectiveContext`) and returns a
    `cbalign.objectives.objective.Objective`. `provides` lists the capabilities it gives the model (`codebook`,
    `matching`, `masked_language`); `fuses` states whether it reads fused tokens, which require fusion layers, and
    `reads_tokens` whether it reads tokens of images or captions otherwise: of frozen towers that no objective reads
    tokens of, only pooled vectors are kept.
    `teacher` states whether the term reads the teacher's features: `required`, `optional` (where the model has no
    teacher, the student takes its place) or `unused`. A model has no teacher if no term reads it.
    `needs` lists the capabilities that it uses and other terms provide, `reads_second_view` states whether it compares
    two views of each image.
    Terms with `by_default` are included in specs that do not name them.
    """

    name: ClassVar[str]
    provides: ClassVar[frozenset[str]] = frozenset()
    fuses: ClassVar[bool] = False
    reads_tokens: ClassVar[bool] = False
    teacher: ClassVar[Literal["required", "optional", "unused"]] = "required"
    needs: ClassVar[frozenset[str]] = frozenset()
    reads_second_view: ClassVar[bool] = False
    by_default: ClassVar[bool] = False

    weight: float = setting(
        1.0,
        ge=0,
        effect=Effect.TRAINING,
        switch=Effect.ARCHITECTURE,
        help="Weight of the loss term; 0 disables it.",
    )
    every: int = setting(
        1,
        ge=1,
        le=1_000_000_000,
        effect=Effect.TRAINING,
        since="0.2",
        help="Compute the term in every n-th optimiser step only, which saves its cost in the others.",
    )

    @property
    def separates_captions(self) -> bool:
        """Whether captions of the same image count as negatives of each other."""
        return False

    @property
    def masked_share(self) -> float:
        """Fraction of caption tokens that are masked and predicted."""
        return 0.0

    @classmethod
    def part_name(cls) -> str:
        """The key below `objectives`."""
        return cls.name


class SourceSection(Part):
    """A source of data.

    `builds` is called with (section, kind of items) and returns a `cbalign.data.source.Source` of these items.
    `items` lists the kinds of items it provides, `more_splits` its splits beyond train, validation and test.
    `from_python` says that a program gives the data, so that a run cannot open them alone. `licence` is a line about
    the licence of the data for model cards; None: it depends on the files.
    """

    if TYPE_CHECKING:
        source: str

    items: ClassVar[tuple[ItemKind, ...]] = ("pairs",)
    more_splits: ClassVar[tuple[str, ...]] = ()
    from_python: ClassVar[bool] = False
    licence: ClassVar[str | None] = None

    def data_sets(self) -> tuple[str, ...]:
        """Names of the data sets in the source, such as `coco`; all splits of a data set share a name."""
        return (self.part_name(),)

    @classmethod
    def of_file(cls, path: Path, items: ItemKind) -> Self | None:
        """Return the source for a file of such items with images in its folder, or None if it cannot read the file."""
        return None


class SolverSection(Part):
    """A solver of the optimal transport problem.

    `builds` is called with (section) and returns a `cbalign.models.transport.Solver`.
    """

    if TYPE_CHECKING:
        solver: str

    @property
    def entropic_epsilon(self) -> tuple[float, str] | None:
        """Return the equivalent entropic regularisation with its formula; None if there is none."""
        return None


class ScheduleSection(Part):
    """A learning-rate schedule.

    `builds` is called with (section, peak rate, steps per epoch, total steps) and returns a
    `cbalign.engine.schedule.Schedule`: a function from the number of a step, counted from 0, to its learning rate,
    which knows its `warmup_steps`.
    """

    if TYPE_CHECKING:
        kind: str
        warmup: str


class EvaluationSection(Part):
    """A kind of evaluation; each task names the kind that evaluates it.

    `builds` is called with (section) and returns a `cbalign.evaluation.evaluator.Evaluator`.
    """

    identity: ClassVar[tuple[str, ...]] = ("kind", "on")
    alongside: ClassVar[str] = ""
    """Another kind of evaluation: tasks that it measures can be measured by this one as well."""

    items: ClassVar[ItemKind | None] = None
    """The kind of items that it reads; None: those that the task learns from."""

    if TYPE_CHECKING:
        kind: str
        on: Split
        batch_size: int
        bootstrap: int

    @property
    def own_data(self) -> str | None:
        """The file or folder that it measures on; None: the split `on` of the spec."""
        return None

    def own_source(self) -> SourceSection:
        """Return the source of `own_data`, where that is not None.

        Raises:
            UsageError: no source reads it.
        """
        raise NotImplementedError

    @property
    def measured(self) -> frozenset[str]:
        """Names of the measured groups of metrics; two specs are comparable in those that both measure."""
        return frozenset({type(self).__name__})

    @property
    def metric_names(self) -> tuple[str, ...] | None:
        """Names of the metrics of its results, such as `accuracy`; a `*` stands for what depends on the data.

        None if they are not known before the evaluation.
        """
        return None

    def counts(self, name: str, measured: frozenset[str]) -> bool:
        """Whether changing the setting `name` changes any of the metrics in `measured`."""
        return name != "bootstrap"

    @property
    def needs(self) -> dict[str, str]:
        """Return the required capability of the model by setting value (`rerank`: `matching`)."""
        return {}

    @property
    def claims_zero_shot(self) -> bool:
        """Whether results are reported as zero-shot, so that the model must not have been trained on the data set."""
        return False


class TaskSection(Part):
    """A task.

    `builds` is called with (section) and returns a `cbalign.tasks.kit.TaskKit`; `runtime`, in the same form, is called
    with (section) and returns the torch-free half, a `cbalign.runtime.task.TaskRuntime`. `items` is the kind of
    training items, one of cbalign's or of the task's own, `evaluation` the kind of evaluation (`none`: the task cannot
    be evaluated).
    """

    if TYPE_CHECKING:
        kind: str

        @property
        def items(self) -> ItemKind:  # noqa: D102
            ...

        @property
        def evaluation(self) -> str:  # noqa: D102
            ...

    runtime: ClassVar[str]
    aligns: ClassVar[bool] = False
    """Whether the task is trained with `objectives`."""

    pretrains: ClassVar[bool] = False
    """Whether it pretrains a model, rather than fine-tuning one."""

    graphs: ClassVar[tuple[str, ...]] = ()
    """Names of the graphs of an exported model, which `export.graphs` may list."""

    graph_needs: ClassVar[dict[str, str]] = {}
    """Required capabilities of the model, by the name of the graph that requires them."""

    @property
    def text_nouns(self) -> tuple[str, str]:
        """What a text of the training items is called in reports, in singular and plural."""
        return "text", "texts"

    @property
    def is_evaluated(self) -> bool:
        """Whether models of the task can be evaluated and exported."""
        return self.evaluation != "none"


class TrackerSection(Part):
    """A metric tracker.

    `builds` is called with (section, `cbalign.engine.tracker.RunInfo`) and returns a `cbalign.engine.tracker.Tracker`.
    """

    identity: ClassVar[tuple[str, ...]] = ("kind",)
    writes: ClassVar[str | None] = None
    """The file or folder that it writes in the run directory, for `cbalign plan`."""

    if TYPE_CHECKING:
        kind: str
