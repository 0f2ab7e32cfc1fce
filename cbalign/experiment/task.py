"""The `task` section: what is learned; and `init`: the trained model that it starts from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from cbalign.experiment.data import ItemKind
from cbalign.parts.section import Effect, RuleError, Section, setting

ARCHITECTURE = Effect.ARCHITECTURE


class PretrainTask(Section):
    """Pretraining: align, match and predict masked words."""

    items: ClassVar[ItemKind] = "pairs"
    evaluation: ClassVar[str] = "retrieval"

    kind: Literal["pretrain"] = setting("pretrain", effect=ARCHITECTURE, help="Which task.")


class RetrievalTask(Section):
    """Image-text retrieval, fine-tuned: the objectives of pretraining on the pairs of one data set."""

    items: ClassVar[ItemKind] = "pairs"
    evaluation: ClassVar[str] = "retrieval"

    kind: Literal["retrieval"] = setting(effect=ARCHITECTURE, help="Which task.")


class NLVR2Task(Section):
    """Is a statement about two images true? Fusion layers are doubled, one copy per image."""

    kind: Literal["nlvr2"] = setting(effect=ARCHITECTURE, help="Which task.")
    stage: Literal["statements", "text-assignment"] = setting(
        "statements",
        effect=ARCHITECTURE,
        help="`text-assignment` is the pretraining of the doubled layers before it: does a caption of `data.train`'s "
        "pairs belong to the first image, the second or neither? A second spec starts from its run.",
        paper="text-assignment for 1 epoch, then statements (ALBEF)",
    )

    @property
    def items(self) -> ItemKind:
        """What is trained on."""
        return "pairs" if self.stage == "text-assignment" else "statements"

    @property
    def evaluation(self) -> str:
        """The kind of evaluation that suits it; none is of the pretraining."""
        return "none" if self.stage == "text-assignment" else "accuracy"


class EntailmentTask(Section):
    """Does an image entail a text, contradict it, or neither? SNLI-VE."""

    items: ClassVar[ItemKind] = "premises"
    evaluation: ClassVar[str] = "accuracy"

    kind: Literal["entailment"] = setting(effect=ARCHITECTURE, help="Which task.")


class VQATask(Section):
    """Visual question answering: a decoder, with as many layers as the fusion encoder, says how likely an answer is."""

    items: ClassVar[ItemKind] = "questions"
    evaluation: ClassVar[str] = "vqa"

    kind: Literal["vqa"] = setting(effect=ARCHITECTURE, help="Which task.")
    answer_list: str | None = setting(
        None,
        effect=Effect.EVALUATION,
        path="file",
        help="JSON list of the answers that `rank` chooses from; null: those of the training data.",
        paper="answer_list.json (ALBEF)",
    )
    answer_minimum: int = setting(
        1,
        ge=1,
        effect=Effect.EVALUATION,
        help="A list made of the training data has the answers that are the most frequent one of so many questions.",
        paper="9 (VQA v2)",
    )


TaskSection = Annotated[
    PretrainTask | RetrievalTask | NLVR2Task | EntailmentTask | VQATask, Field(discriminator="kind")
]


class InitSection(Section):
    """A trained model to start from: a run, or a checkpoint. Its tokenizer is used, heads that it lacks are new."""

    run: str | None = setting(
        None,
        effect=Effect.INITIALISATION,
        path="file or folder",
        help="A run's folder, or `runs/latest`; its newest checkpoint is read.",
    )
    checkpoint: str | None = setting(
        None,
        effect=Effect.INITIALISATION,
        path="file or folder",
        help="A folder `checkpoints/step-N` of a run, or a file of ALBEF's published form.",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> InitSection:
        if (self.run is None) == (self.checkpoint is None):
            raise RuleError("init names either a run or a checkpoint", at=("checkpoint", "run"))
        return self
