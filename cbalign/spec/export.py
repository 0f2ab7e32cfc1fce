"""The `export` section: which graphs, in which precision and opset."""

from __future__ import annotations

from typing import Literal

from cbalign.spec.section import Effect, Section, setting

Graph = Literal["image", "text", "codebook", "match"]


class ExportSection(Section):
    """What `cbalign export` writes."""

    graphs: Literal["all"] | tuple[Graph, ...] = setting(
        "all", effect=Effect.EXPORT, help="`all` that the model has, or a list of graphs."
    )
    precisions: tuple[Literal["fp32"], ...] = setting(
        ("fp32",), min_length=1, effect=Effect.EXPORT, help="Number formats, one folder each."
    )
    opset: Literal["auto"] | int = setting(
        "auto",
        effect=Effect.EXPORT,
        help="ONNX operator set; `auto` is the newest that onnxruntime runs well.",
    )
