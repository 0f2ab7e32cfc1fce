"""The `export` section: which graphs, in which precision and opset."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from cbalign.parts.section import Effect, RuleError, Section, setting

Graph = Literal["image", "text", "codebook", "match"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]


class ExportSection(Section):
    """What `cbalign export` writes."""

    graphs: Literal["all"] | tuple[Graph, ...] = setting(
        "all", effect=Effect.EXPORT, help="`all` that the model has, or a list of graphs."
    )
    precisions: tuple[Precision, ...] = setting(
        ("fp32",),
        min_length=1,
        effect=Effect.EXPORT,
        help="Number formats, one folder each, the first is used by default: fp16 and bf16 for GPUs, int8 for CPUs.",
    )
    opset: Literal["auto"] | int = setting(
        "auto",
        effect=Effect.EXPORT,
        help="ONNX operator set; `auto` is the newest that the installed onnxruntime runs well, by trying.",
    )

    @model_validator(mode="after")
    def _each_precision_once(self) -> ExportSection:
        if len(set(self.precisions)) < len(self.precisions):
            twice = next(name for name in self.precisions if self.precisions.count(name) > 1)
            raise RuleError(f"precisions names {twice} twice", at=("precisions",))
        return self
