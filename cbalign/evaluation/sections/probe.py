"""Probes of image vectors in a spec: linear classification and nearest neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from cbalign.parts import Effect, EvaluationSection, SourceSection, setting
from cbalign.parts.kinds import Split

EVALUATION = Effect.EVALUATION
ProbeProtocol = Literal["linear", "knn"]


class ProbeEvaluation(EvaluationSection):
    """Classification of images by their embeddings alone: a linear probe, and k nearest neighbours."""

    builds = "cbalign.evaluation.probe:ProbeEvaluator"
    identity: ClassVar[tuple[str, ...]] = ("kind", "on", "images")
    alongside: ClassVar[str] = "retrieval"

    kind: Literal["probe"] = setting(effect=EVALUATION, help="Kind of evaluation.")
    on: Split = setting("test", effect=EVALUATION, help="Split whose captions are class labels; see `images`.")
    train_images: str = setting(
        effect=EVALUATION,
        path="file or folder",
        help="Labelled images that the probes learn from: a folder of class folders, or a CSV file with the columns "
        "`path` and `label`.",
    )
    images: str | None = setting(
        None,
        effect=EVALUATION,
        path="file or folder",
        help="Labelled images to measure on instead of a split, in the same form.",
    )
    protocols: tuple[ProbeProtocol, ...] = setting(
        ("linear", "knn"),
        min_length=1,
        effect=EVALUATION,
        help="`linear`: multinomial logistic regression; `knn`: weighted vote of the nearest neighbours.",
    )
    neighbours: int = setting(20, ge=1, effect=EVALUATION, help="Number of nearest neighbours that vote.")
    temperature: float = setting(
        0.07, gt=0, effect=EVALUATION, help="A neighbour with cosine s has the weight exp(s / temperature)."
    )
    l2: float | None = setting(
        None,
        gt=0,
        effect=EVALUATION,
        help="Weight of the squared norm of the linear probe; null: the best of five on a fifth of `train_images`.",
    )
    bootstrap: int = setting(1000, ge=0, effect=EVALUATION, help="Resamples for the 95 % interval; 0: none.")
    batch_size: int = setting(64, ge=1, effect=Effect.RUNTIME, help="Items per forward pass.")

    @property
    def own_data(self) -> str | None:
        """Return `images`."""
        return self.images

    def own_source(self) -> SourceSection:
        """Return the source that reads `images`."""
        assert self.images is not None
        return labelled(self.images)

    @property
    def measured(self) -> frozenset[str]:
        """Return the protocols."""
        return frozenset(self.protocols)

    def counts(self, name: str, measured: frozenset[str]) -> bool:
        """Whether a setting affects metrics: those of a protocol do if both sides measure it."""
        of_protocol = {"neighbours": "knn", "temperature": "knn", "l2": "linear"}
        return name != "bootstrap" and (name not in of_protocol or of_protocol[name] in measured)


def labelled(path: str) -> SourceSection:
    """Return the source that reads labelled images.

    Raises:
        UsageError: no source reads them.
    """
    from cbalign.data.source import source_of_file

    return source_of_file(Path(path), "pairs")
