"""The interface between a task and the runtime of bundles; without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cbalign.data.arrays import FloatArray, PixelArray
from cbalign.parts import EvaluationSection, TaskSection
from cbalign.parts.kinds import Split
from cbalign.parts.part import call_part
from cbalign.runtime.signatures import Signature

if TYPE_CHECKING:
    from cbalign.runtime.session import Session

ModelT = TypeVar("ModelT")


class TaskRuntime(Protocol[ModelT]):
    """Runs bundles of one kind of task; `TaskSection.runtime` names it."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Inputs and outputs of all graphs of such bundles by name, in the order of the manifest."""

    def open(self, session: Session) -> ModelT:
        """Open the model of a bundle for the task's evaluator.

        Raises:
            BundleError: the bundle lacks what the task needs.
            UsageError: the bundle was exported without a graph that the task needs.
        """

    def default_evaluation(self, model: ModelT, split: Split) -> EvaluationSection:
        """Return the evaluation to use for a run or bundle whose spec lists none."""

    def golden_outputs(self, model: ModelT, pixels: PixelArray, texts: Sequence[str]) -> dict[str, FloatArray]:
        """Run all graphs of a run's or bundle's model on prepared images and as many texts."""

    def usage(self) -> str:
        """Return example code for the model card: a script in the folder of the bundle."""


def task_runtime(section: TaskSection) -> TaskRuntime[Any]:
    """Return the runtime of a task.

    Raises:
        PartError: the runtime cannot be imported.
    """
    runtime: TaskRuntime[Any] = call_part(type(section), section.runtime, section)
    return runtime
