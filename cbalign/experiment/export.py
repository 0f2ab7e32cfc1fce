"""The `export` section: graphs, precisions, opset and target layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from cbalign.experiment.unions import union, usable
from cbalign.parts import Effect, RuleError, Section, TargetSection, setting
from cbalign.parts.registry import PRECISIONS, TARGETS, TASKS

if TYPE_CHECKING:
    Graph = str
    Precision = str
    Target = TargetSection
else:
    Graph = Literal[tuple(dict.fromkeys(graph for task in usable(TASKS).values() for graph in task.graphs))]
    Precision = Literal[tuple(usable(PRECISIONS))]
    Target = union(TARGETS)


class ExportSection(Section):
    """The output of `cbalign export`."""

    graphs: Literal["all"] | tuple[Graph, ...] = setting(
        "all", unordered=True, effect=Effect.EXPORT, help="`all` graphs of the model, or a list."
    )
    precisions: tuple[Precision, ...] = setting(
        ("fp32",),
        min_length=1,
        effect=Effect.EXPORT,
        help="Number formats, one folder each; the first is the default: fp16 and bf16 for GPUs, int8 for CPUs.",
    )
    opset: Literal["auto"] | int = setting(
        "auto",
        effect=Effect.EXPORT,
        help="ONNX operator set; `auto` tests for the newest that the installed onnxruntime runs well.",
    )
    targets: tuple[Target, ...] = setting(
        (),
        effect=Effect.EXPORT,
        help="Other layouts built from the bundle, each in a folder `<bundle>-<kind>`.",
    )

    @model_validator(mode="after")
    def _each_once(self) -> ExportSection:
        kinds = tuple(target.kind for target in self.targets)
        for name, values in (("precisions", self.precisions), ("targets", kinds)):
            if len(set(values)) < len(values):
                twice = next(value for value in values if values.count(value) > 1)
                raise RuleError(f"{name} lists {twice} twice", at=(name,))
        return self
