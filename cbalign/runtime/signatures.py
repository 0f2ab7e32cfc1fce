"""Inputs and outputs of a bundle's graphs, as exported and as checked by the runtime."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

DType: TypeAlias = Literal["uint8", "int64", "float32"]


@dataclass(frozen=True)
class Port:
    """One input or output. Named dimensions vary between calls; the model fixes those that are None."""

    name: str
    dtype: DType
    shape: tuple[str | None, ...]


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of one graph, in order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs."""
        return [port.name for port in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs."""
        return [port.name for port in self.outputs]


SIGNATURES: Mapping[str, Signature] = {
    "image": Signature(
        (Port("pixels", "uint8", ("batch", None, None, None)),),  # (B, H, W, 3) RGB
        (
            Port("tokens", "float32", ("batch", None, None)),  # (B, N, D)
            Port("embedding", "float32", ("batch", None)),  # (B, d)
        ),
    ),
    "text": Signature(
        (
            Port("input_ids", "int64", ("batch", "length")),
            Port("attention_mask", "int64", ("batch", "length")),
        ),
        (
            Port("tokens", "float32", ("batch", "length", None)),  # (B, L, D)
            Port("embedding", "float32", ("batch", None)),
        ),
    ),
    "codebook": Signature(
        (Port("embedding", "float32", ("batch", None)),),
        (
            Port("probabilities", "float32", ("batch", None)),  # (B, K)
            Port("code", "int64", ("batch",)),
            Port("prototype", "float32", ("batch", None)),  # (B, d)
        ),
    ),
    "match": Signature(
        (
            Port("image_tokens", "float32", ("images", None, None)),  # (I, N, D)
            Port("text_tokens", "float32", ("texts", "length", None)),  # (T, L, D)
            Port("attention_mask", "int64", ("texts", "length")),
            Port("image_index", "int64", ("texts",)),
        ),
        (Port("score", "float32", ("texts",)),),
    ),
    "vision": Signature(
        (Port("pixels", "uint8", ("images", None, None, None)),),  # (I, H, W, 3) RGB
        (Port("image_tokens", "float32", ("images", None, None)),),  # (I, N, D)
    ),
    "question": Signature(
        (
            Port("image_tokens", "float32", ("images", None, None)),
            Port("input_ids", "int64", ("questions", "length")),
            Port("attention_mask", "int64", ("questions", "length")),
            Port("image_index", "int64", ("questions",)),
        ),
        (Port("question_tokens", "float32", ("questions", "length", None)),),  # (Q, L, D)
    ),
    "answer": Signature(
        (
            Port("question_tokens", "float32", ("questions", "length", None)),
            Port("question_mask", "int64", ("questions", "length")),
            Port("answer_ids", "int64", ("answers", "answer_length")),  # (A, M), beginning with [CLS]
            Port("question_index", "int64", ("answers",)),
        ),
        (
            # Log-probabilities of each token after the first, and of every token as the next one after the last.
            Port("token", "float32", ("answers", "answer_length - 1")),
            Port("following", "float32", ("answers", None)),  # (A, V)
        ),
    ),
    "classify": Signature(
        (
            Port("pixels", "uint8", ("batch", None, None, None, None)),  # (B, n, H, W, 3) RGB
            Port("input_ids", "int64", ("batch", "length")),
            Port("attention_mask", "int64", ("batch", "length")),
        ),
        (Port("logits", "float32", ("batch", None)),),  # (B, C)
    ),
}
"""The graphs by name."""

ALIGNMENT: tuple[str, ...] = ("image", "text")
ANSWERING: tuple[str, ...] = ("vision", "question", "answer")
CLASSIFYING: tuple[str, ...] = ("classify",)
"""Required graphs of bundles that align, answer questions, or classify."""


def required(graphs: Container[str]) -> tuple[str, ...]:
    """Return the graphs that a bundle with these graphs must have, depending on its kind of model."""
    return next((kind for kind in (ANSWERING, CLASSIFYING) if kind[-1] in graphs), ALIGNMENT)
