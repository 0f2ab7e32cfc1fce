"""Compositional foils in a spec."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import model_validator

from cbalign.parts import Effect, EvaluationSection, ItemKind, RuleError, SourceSection, setting
from cbalign.parts.kinds import Split

EVALUATION = Effect.EVALUATION
FoilProtocol = Literal["dual", "match", "code"]


class CompositionalEvaluation(EvaluationSection):
    """Choosing the right caption, or image, where another differs in a detail only: SugarCrepe, Winoground, scenes."""

    builds = "cbalign.evaluation.composition:CompositionalEvaluator"
    identity: ClassVar[tuple[str, ...]] = ("kind", "on", "foils")
    alongside: ClassVar[str] = "retrieval"
    items: ClassVar[ItemKind | None] = "foils"

    kind: Literal["compositional"] = setting(effect=EVALUATION, help="Kind of evaluation.")
    on: Split = setting("test", effect=EVALUATION, help="Split of a source that has foils, such as scenes.")
    foils: str | None = setting(
        None,
        effect=EVALUATION,
        path="file",
        help="JSON file to measure on instead of a split, in SugarCrepe's or Winoground's form.",
    )
    images: str | None = setting(
        None, effect=EVALUATION, path="folder", help="Folder of the images of `foils`; default: the folder of the file."
    )
    protocols: tuple[FoilProtocol, ...] = setting(
        ("dual",),
        min_length=1,
        effect=EVALUATION,
        help="What pairs are scored by: `dual`, cosine of embeddings; `match`, match scores; `code`, overlap of codes.",
    )
    bootstrap: int = setting(1000, ge=0, effect=EVALUATION, help="Resamples for the 95 % interval; 0: none.")
    batch_size: int = setting(64, ge=1, effect=Effect.RUNTIME, help="Items per forward pass.")

    @model_validator(mode="after")
    def _images_belong_to_a_file(self) -> CompositionalEvaluation:
        if self.images is not None and self.foils is None:
            raise RuleError("images without foils: name the file of the captions as foils", at=("images",))
        return self

    @property
    def own_data(self) -> str | None:
        """Return `foils`."""
        return self.foils

    def own_source(self) -> SourceSection:
        """Return the source that reads `foils`."""
        from cbalign.data.source import source_of_file

        assert self.foils is not None
        source = source_of_file(Path(self.foils), "foils")
        return source if self.images is None else source.model_copy(update={"root": self.images})

    @property
    def measured(self) -> frozenset[str]:
        """Return the protocols."""
        return frozenset(self.protocols)

    @property
    def needs(self) -> dict[str, str]:
        """Return the requirements: match scores for `match`, a codebook for `code`."""
        all_needs = {"match": "matching", "code": "codebook"}
        return {protocol: all_needs[protocol] for protocol in self.protocols if protocol in all_needs}
