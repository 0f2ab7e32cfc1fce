"""Classification of texts about images with an exported bundle; without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from cbalign.data.arrays import FloatArray, PixelArray
from cbalign.data.image import Preprocessing
from cbalign.encoders import Classifier
from cbalign.errors import BundleError
from cbalign.parts import EvaluationSection, TaskSection
from cbalign.parts.kinds import Split
from cbalign.runtime.session import Session
from cbalign.tasks.classification.section import AccuracyEvaluation

LABELS_FILE = "labels.json"


class SessionClassifier:
    """Runs the graph of a session; implements `cbalign.encoders.Classifier`. Make it with `open_classifier`.

    Args:
        session: of the bundle.
        labels: names of the classes, in the order of the logits.
    """

    def __init__(self, session: Session, labels: tuple[str, ...]) -> None:
        self.session = session
        self.labels = labels

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.preprocessing.size

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become the input of `classify`."""
        return self.session.preprocessing

    def classify(self, pixels: PixelArray, texts: Sequence[str]) -> FloatArray:
        """Logits (B, C) of raw texts, each about n prepared images (B, n, H, W, 3)."""
        tokens, size = self.session.tokenizer.encode(texts), self.session.batch_size
        batches = [slice(start, start + size) for start in range(0, max(1, len(texts)), size)]
        inputs = (pixels, tokens.input_ids, tokens.attention_mask)
        return np.concatenate([self.session.run("classify", *(each[batch] for each in inputs))[0] for batch in batches])


def open_classifier(session: Session) -> SessionClassifier:
    """Open the model of a bundle.

    Raises:
        BundleError: the model does not classify, or the list of labels is damaged.
    """
    bundle = session.bundle
    if LABELS_FILE not in bundle.manifest.files or "classify" not in bundle.manifest.graphs:
        raise BundleError(
            f"{bundle.folder} is not a classifier: it has no {LABELS_FILE} or no classify graph",
            remedy="Name a bundle that was exported from a run of task nlvr2 or entailment.",
        )
    path = bundle.folder / LABELS_FILE
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise ValueError("it is not a list of names")
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read ({error})", remedy="Copy the bundle again.") from error
    return SessionClassifier(session, tuple(labels))


class ClassificationRuntime:
    """Implements `cbalign.runtime.task.TaskRuntime` for classifiers.

    Args:
        section: the task in a spec.
    """

    example_images: ClassVar[tuple[str, ...]] = ("picture.png",)
    """Names of the image files of an item, for example code."""

    def __init__(self, section: TaskSection) -> None:
        self._section = section

    def open(self, session: Session) -> SessionClassifier:
        """Open the model of a bundle; see `open_classifier`."""
        return open_classifier(session)

    def default_evaluation(self, model: Classifier, split: Split) -> EvaluationSection:
        """Return the evaluation of accuracy."""
        return AccuracyEvaluation(kind="accuracy", on=split)

    def golden_outputs(self, model: Classifier, pixels: PixelArray, texts: Sequence[str]) -> dict[str, FloatArray]:
        """Classify texts, each about prepared images (B, n, H, W, 3)."""
        return {"logits": model.classify(pixels, texts)}

    def usage(self) -> str:
        """Return example code that classifies a text."""
        return _USAGE.format(files=", ".join(f'"{name}"' for name in self.example_images))


_USAGE = """\
import numpy as np

from cbalign.runtime.images import load_pixels
from cbalign.runtime.session import Session
from cbalign.tasks.classification.runtime import open_classifier

classifier = open_classifier(Session.open("."))
pixels = load_pixels([{files}], classifier.preprocessing)
logits = classifier.classify(pixels[np.newaxis], ["The car is red."])
print(classifier.labels[logits[0].argmax()])
"""
