"""Statements about two images with an exported bundle; without torch."""

from __future__ import annotations

from cbalign.tasks.classification.runtime import ClassificationRuntime


class NLVR2Runtime(ClassificationRuntime):
    """Implements `cbalign.runtime.task.TaskRuntime`."""

    example_images = ("left.png", "right.png")
