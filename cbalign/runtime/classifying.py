"""A bundle that classifies texts about images: its graph as a `Classifier`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from cbalign.encoders import FloatArray, PixelArray
from cbalign.errors import BundleError
from cbalign.runtime.session import Session

LABELS_FILE = "labels.json"


class SessionClassifier:
    """Runs the graph of a session; keeps `cbalign.encoders.Classifier`. Make it with `open_classifier`.

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
        return self.session.image_size

    def classify(self, pixels: PixelArray, texts: Sequence[str]) -> FloatArray:
        """Logits (B, C) of raw texts, each about n prepared images (B, n, H, W, 3)."""
        tokens, size = self.session.tokenizer.encode(texts), self.session.batch_size
        batches = [slice(start, start + size) for start in range(0, max(1, len(texts)), size)]
        inputs = (pixels, tokens.input_ids, tokens.attention_mask)
        return np.concatenate([self.session.run("classify", *(each[batch] for each in inputs))[0] for batch in batches])


def open_classifier(session: Session) -> SessionClassifier:
    """Classify with a bundle.

    Raises:
        BundleError: it is none of a model that classifies, or its list of labels is damaged.
    """
    bundle = session.bundle
    if LABELS_FILE not in bundle.manifest.files or "classify" not in bundle.manifest.graphs:
        raise BundleError(
            f"{bundle.folder} classifies nothing: it has no {LABELS_FILE} or no classify graph",
            remedy="Name a bundle that was exported from a run of task nlvr2 or entailment.",
        )
    path = bundle.folder / LABELS_FILE
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise ValueError("it is no list of names")
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read ({error})", remedy="Copy the bundle again.") from error
    return SessionClassifier(session, tuple(labels))
