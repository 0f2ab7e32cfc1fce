"""The `model` section: towers, fusion, codebook, teacher, queues. Defaults are the paper's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from cbalign.experiment.unions import union, usable
from cbalign.parts import (
    Effect,
    RuleError,
    Section,
    SolverSection,
    TextTowerSection,
    VisionTowerSection,
    WeightsSource,
    setting,
)
from cbalign.parts.registry import SOLVERS, TEXT_TOWERS, VISION_TOWERS
from cbalign.parts.section import subsection

ARCHITECTURE, INITIALISATION, TRAINING = Effect.ARCHITECTURE, Effect.INITIALISATION, Effect.TRAINING

if TYPE_CHECKING:
    Transport = SolverSection
    Vision = VisionTowerSection
    Text = TextTowerSection
else:
    Transport, Vision, Text = union(SOLVERS), union(VISION_TOWERS), union(TEXT_TOWERS)


class FusionSection(Section):
    """The fusion encoder: BERT layers with cross-attention onto the image tokens."""

    layers: int = setting(
        6,
        ge=1,
        le=1_000,
        effect=ARCHITECTURE,
        help="Fusion layers. Initialised from the last layers of pretrained text weights; cross-attention is random.",
        paper="6 (ALBEF)",
    )
    architecture: str | None = setting(
        None,
        effect=ARCHITECTURE,
        path="maybe",
        since="0.2",
        help="A BERT whose last layers become the fusion layers, by a name or folder as in the text tower of kind "
        "`bert`; a learned linear map joins other widths. null: layers of the text tower's width, from its own BERT if "
        "it has one.",
        paper="null (ALBEF)",
    )
    init: Literal["pretrained", "random"] = setting(
        "pretrained",
        effect=INITIALISATION,
        since="0.2",
        help="Initialise from the BERT's last layers, if there is one, or at random.",
    )

    @property
    def weights_source(self) -> WeightsSource | None:
        """Return the published weights of its own BERT, or None."""
        if self.architecture is None or self.init == "random":
            return None
        return WeightsSource(self.architecture, model=self.architecture, path=self.architecture)


class ProjectionSection(Section):
    """The projections of pooled image and text vectors into the joint space."""

    hidden: int | None = setting(
        None,
        ge=1,
        le=1_048_576,
        effect=ARCHITECTURE,
        help="Width of the hidden layer of a two-layer perceptron with GELU; null: a linear map.",
        paper="null (ALBEF)",
    )
    dropout: float = setting(0.0, ge=0, lt=1, effect=TRAINING, help="Dropout on the hidden layer.")

    @model_validator(mode="after")
    def _dropout_has_a_hidden_layer(self) -> ProjectionSection:
        if self.dropout and self.hidden is None:
            raise RuleError("dropout acts on the hidden layer; set hidden", at=("dropout", "hidden"))
        return self


class TemperatureSection(Section):
    """The contrastive temperature γ."""

    initial: float = setting(0.07, gt=0, effect=INITIALISATION, help="Initial temperature.", paper="0.07 (ALBEF)")
    learned: bool = setting(
        True, effect=ARCHITECTURE, help="Whether the temperature is a parameter.", paper="yes (ALBEF)"
    )
    parameter: Literal["value", "logarithm"] = setting(
        "value",
        effect=ARCHITECTURE,
        since="0.2",
        help="What is learned: the temperature itself, or its logarithm.",
        paper="value (ALBEF), logarithm (CLIP)",
    )
    decayed: bool = setting(
        False,
        since="0.2",
        effect=TRAINING,
        help="Whether `train.optimizer.weight_decay` also applies to a learned temperature.",
        paper="yes: ALBEF's code spares vectors only, and the temperature has no dimension",
    )
    minimum: float = setting(0.001, gt=0, effect=TRAINING, help="Lower bound.", paper="0.001 (ALBEF)")
    maximum: float = setting(0.5, gt=0, effect=TRAINING, help="Upper bound.", paper="0.5 (ALBEF)")

    @model_validator(mode="after")
    def _in_order(self) -> TemperatureSection:
        if not self.minimum <= self.initial <= self.maximum:
            raise RuleError(
                f"initial {self.initial} must be between minimum {self.minimum} and maximum {self.maximum}",
                at=("initial", "minimum", "maximum"),
            )
        return self


class CodebookSection(Section):
    """The representation codebook that both modalities share."""

    size: int = setting(
        4000, ge=2, le=10_000_000, effect=ARCHITECTURE, help="Number of prototypes K.", paper="4000 (CODIS)"
    )
    temperature: float = setting(0.1, gt=0, effect=TRAINING, help="Temperature τ of the prototype distributions.")
    transport: Transport = subsection(usable(SOLVERS)["ipot"], help="How teacher features are assigned to prototypes.")
    assign_over: Literal["batch", "global_batch", "global_batch+queue"] = setting(
        "global_batch", effect=TRAINING, help="Scope of the teacher features that share one transport plan."
    )
    freeze_steps: int = setting(
        0, ge=0, le=1_000_000_000_000, effect=TRAINING, help="Initial steps during which the prototypes are frozen."
    )
    update: Literal["gradient", "average"] = setting(
        "gradient",
        effect=ARCHITECTURE,
        since="0.2",
        help="How prototypes move: by the gradient of the loss, or as running averages of the features that are "
        "assigned to them, as in k-means.",
        paper="gradient (CODIS)",
    )
    average_momentum: float = setting(
        0.99, ge=0, lt=1, effect=TRAINING, since="0.2", help="Weight of the old average with `update: average`."
    )
    revive_after: int | None = setting(
        None,
        ge=1,
        effect=ARCHITECTURE,
        since="0.2",
        help="Steps after which a code that was nearest to no image and no text is moved to a feature that is far from "
        "all codes; null: never.",
        paper="null (CODIS)",
    )
    revive_most: int = setting(
        16, ge=1, effect=TRAINING, since="0.2", help="How many codes one step revives at most, those of longest disuse."
    )


class TeacherSection(Section):
    """The momentum teacher."""

    enabled: bool = setting(
        True,
        effect=ARCHITECTURE,
        since="0.2",
        help="Whether the model has a teacher. Without one, nothing is distilled and negatives are drawn by the "
        "student's features. A model whose objectives never read a teacher has none in any case.",
        paper="yes (ALBEF), no (CLIP, X-VLM, VLMo)",
    )
    momentum: float = setting(
        0.995, ge=0, lt=1, effect=TRAINING, help="EMA momentum m of the teacher.", paper="0.995 (ALBEF)"
    )
    distillation: float = setting(
        0.4, ge=0, le=1, effect=TRAINING, help="Weight α of the teacher's soft targets.", paper="0.4 (ALBEF)"
    )
    ramp_epochs: float = setting(
        1.0, ge=0, effect=TRAINING, help="Epochs over which α grows from 0.", paper="1 (ALBEF)"
    )

    @property
    def follows(self) -> float | None:
        """Momentum m of the teacher; None without one."""
        return self.momentum if self.enabled else None

    @property
    def weight(self) -> float:
        """α: 0 without a teacher."""
        return self.distillation if self.enabled else 0.0


class QueueSection(Section):
    """The queues of teacher features."""

    length: int = setting(
        65536,
        ge=0,
        le=1_000_000_000,
        effect=ARCHITECTURE,
        help="Features per modality M; 0 switches the queues off.",
        paper="65536 (ALBEF)",
    )


class ModelSection(Section):
    """The model. Parts used only by objectives with weight 0 are not built."""

    vision: Vision = subsection(usable(VISION_TOWERS)["timm"], help="The image tower.")
    text: Text = subsection(usable(TEXT_TOWERS)["bert"], help="The text tower.")
    fusion: FusionSection = subsection(FusionSection, help="The fusion encoder.")
    joint_dim: int = setting(
        256, ge=2, le=1_048_576, effect=ARCHITECTURE, help="Dimension d of the joint space.", paper="256 (ALBEF)"
    )
    projection: ProjectionSection = subsection(
        ProjectionSection, since="0.2", help="The projections into the joint space."
    )
    temperature: TemperatureSection = subsection(TemperatureSection, help="The contrastive temperature.")
    codebook: CodebookSection = subsection(CodebookSection, help="The representation codebook.")
    teacher: TeacherSection = subsection(TeacherSection, help="The momentum teacher.")
    queue: QueueSection = subsection(QueueSection, help="The queues of teacher features.")
