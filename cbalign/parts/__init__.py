"""The plug-in interface of cbalign: base classes of parts, settings, and the registry that finds parts.

A part is a torch-free section of the spec language that refers to what it builds. See docs/how-to/extend.md.
"""

from cbalign.parts.exports import PrecisionSection, TargetSection
from cbalign.parts.kinds import (
    EvaluationSection,
    ItemKind,
    ObjectiveSection,
    ScheduleSection,
    SolverSection,
    SourceSection,
    TaskSection,
    TrackerSection,
)
from cbalign.parts.part import Part
from cbalign.parts.section import Effect, RuleError, Section, setting, subsection
from cbalign.parts.towers import TextTowerSection, TokenizerSettings, VisionTowerSection, WeightsSource

__all__ = [
    "Effect",
    "EvaluationSection",
    "ItemKind",
    "ObjectiveSection",
    "Part",
    "PrecisionSection",
    "RuleError",
    "ScheduleSection",
    "Section",
    "SolverSection",
    "SourceSection",
    "TargetSection",
    "TaskSection",
    "TextTowerSection",
    "TokenizerSettings",
    "TrackerSection",
    "VisionTowerSection",
    "WeightsSource",
    "setting",
    "subsection",
]
