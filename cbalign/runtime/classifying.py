"""The former place of `cbalign.tasks.classification.runtime`: example code in model cards of 0.1.0 imports it."""

from cbalign.tasks.classification.runtime import LABELS_FILE, SessionClassifier, open_classifier

__all__ = ["LABELS_FILE", "SessionClassifier", "open_classifier"]
