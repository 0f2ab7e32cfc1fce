"""Visual entailment with an exported bundle; without torch."""

from __future__ import annotations

from cbalign.tasks.classification.runtime import ClassificationRuntime


class EntailmentRuntime(ClassificationRuntime):
    """Implements `cbalign.runtime.task.TaskRuntime`."""
