"""A model that classifies texts about images, as export sees it, and its comparison with a bundle.

From the lowest rung up: logits for batches and lengths of several sizes; a text alone and beside a longer one; ids and
pixels of raw inputs; classes, and how often they are right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cbalign.data.image import Preprocessing, prepare
from cbalign.data.items import Labelled
from cbalign.data.source import FirstItems, Source
from cbalign.data.text import Tokenizer
from cbalign.encoders import Classifier, PixelArray
from cbalign.evaluation.classification import evaluate_accuracy
from cbalign.evaluation.result import Result
from cbalign.evaluation.sections.evaluations import AccuracyEvaluation
from cbalign.export.ladder import Ladder, Part
from cbalign.export.parity import WHOLE, Feed, difference
from cbalign.export.sample import batch_sizes, readable_items, texts_of_all_lengths
from cbalign.export.scored import scored_checks
from cbalign.export.subject import bytes_of
from cbalign.models.classifier import TorchClassifier
from cbalign.runtime.classifying import LABELS_FILE, open_classifier
from cbalign.runtime.golden import classifying_outputs, write_golden
from cbalign.runtime.precisions import REFERENCE
from cbalign.runtime.session import Session

_TASK_ITEMS = 512
_GOLDEN_ITEMS = 4


@dataclass(frozen=True)
class ClassifyingSubject:
    """Keeps `cbalign.export.subject.Exportable`.

    Args:
        classifier: the trained model, on the CPU.
        items: real ones.
        positions: of the items that are compared, in the source.
        pixels: (B, n, H, W, 3) their images, prepared.
        texts: as many; the first is the shortest, the second long.
        results: how often it is right.
    """

    classifier: TorchClassifier
    items: Source[Labelled]
    positions: tuple[int, ...]
    pixels: PixelArray
    texts: tuple[str, ...]
    results: tuple[Result, ...]

    @classmethod
    def of(cls, classifier: TorchClassifier, source: Source[Labelled]) -> ClassifyingSubject:
        """Run the model on real items.

        Raises:
            DataError: no image can be read.
        """
        classifier.network.eval()
        items = FirstItems(source, _TASK_ITEMS)
        positions, pixels = readable_items(items, classifier.image_size)
        texts = texts_of_all_lengths(items, 2 * classifier.tokenizer.settings.max_words)
        # As many of both: a short list of either is gone through again.
        count = max(len(pixels), len(texts))
        pixels = pixels[np.arange(count) % len(pixels)]
        texts = tuple(texts[i % len(texts)] for i in range(count))
        return cls(classifier, items, positions, pixels, texts, _evaluate(classifier, items))

    @property
    def graphs(self) -> Mapping[str, nn.Module]:
        """One, from pixels and words to logits."""
        return {"classify": self.classifier.graph}

    @property
    def tokenizer(self) -> Tokenizer:
        """The classifier's."""
        return self.classifier.tokenizer

    @property
    def preprocessing(self) -> Preprocessing:
        """Input size and pixel statistics of the image tower."""
        return self.classifier.network.vision.preprocessing

    @property
    def weights(self) -> int:
        """Those of the student."""
        return bytes_of(self.classifier.network)

    @property
    def source(self) -> str:
        """The items."""
        return self.items.name

    def examples(self) -> Mapping[str, tuple[Tensor, ...]]:
        """Three items."""
        return {"classify": tuple(torch.from_numpy(array) for array in self.feed(3))}

    def feed(self, size: int) -> Feed:
        """The inputs of the graph for the first items."""
        tokens = self.tokenizer.encode(self.texts[:size])
        return self.pixels[:size], tokens.input_ids, tokens.attention_mask

    def write_assets(self, folder: Path) -> None:
        """The names of the classes."""
        (folder / LABELS_FILE).write_text(json.dumps(self.classifier.labels, indent=1) + "\n", encoding="utf-8")

    def compare(self, session: Session, precision: str, report: Callable[[str], None]) -> ClassifyingLadder:
        """The ladder up to accuracy."""
        return ClassifyingLadder(self, open_classifier(session), session.tokenizer, precision, report)

    def write_golden(self, sessions: Mapping[str, Session], path: Path) -> None:
        """A few items."""
        pixels, texts = self.pixels[:_GOLDEN_ITEMS], self.texts[:_GOLDEN_ITEMS]
        outputs = {name: classifying_outputs(open_classifier(side), pixels, texts) for name, side in sessions.items()}
        write_golden({REFERENCE: classifying_outputs(self.classifier, pixels, texts)} | outputs, pixels, texts, path)


class ClassifyingLadder(Ladder):
    """The comparison up to accuracy.

    Args:
        subject: the trained model.
        exported: the bundle, in this precision.
        tokenizer: the bundle's.
        precision: sets the limits.
        report: told which part is being compared.
    """

    def __init__(
        self,
        subject: ClassifyingSubject,
        exported: Classifier,
        tokenizer: Tokenizer,
        precision: str = REFERENCE,
        report: Callable[[str], None] = lambda stage: None,
    ) -> None:
        super().__init__(precision, report)
        self._subject = subject
        self._exported = exported
        self._tokenizer = tokenizer

    def _parts(self) -> Iterable[Part]:
        return ("classify", self._logits), ("inputs", self._inputs), ("accuracy", self._task)

    def _logits(self) -> None:
        pixels, texts, limit = self._subject.pixels, self._subject.texts, self.limits.scores
        for size in batch_sizes(len(texts)):
            feed = self._subject.feed(size)
            quantity = f"logits of {size} texts, padded to {feed[1].shape[1]}"
            wanted = self._subject.classifier.classify(pixels[:size], texts[:size])
            with self._attempt("torch", "classify", quantity, feed):
                found = self._exported.classify(pixels[:size], texts[:size])
                self._compare("classify", quantity, found, wanted, difference, limit, feed)
        quantity = "logits of a text beside a longer one"
        with self._attempt("independence", "classify", quantity):
            alone, beside = (self._exported.classify(pixels[:size], texts[:size])[:1] for size in (1, 2))
            self._independent("classify", quantity, beside, alone, difference, limit)

    def _inputs(self) -> None:
        subject = self._subject
        found, wanted = (side.encode(subject.texts) for side in (self._tokenizer, subject.tokenizer))
        self._same("classify", f"tokenization of {len(subject.texts)} texts", (found.input_ids, wanted.input_ids),
                   (found.attention_mask, wanted.attention_mask))  # fmt: skip
        size = self._exported.image_size
        pixels = [[prepare(image, size) for image in subject.items.images(position)] for position in subject.positions]
        self._same("classify", "pixels of raw pictures", (np.array(pixels), subject.pixels[: len(pixels)]))

    def _task(self) -> None:
        with self._attempt("task", WHOLE, "classes"):
            self._results = _evaluate(self._exported, self._subject.items)
            self._checks += scored_checks(self._results, self._subject.results, self.limits)


def _evaluate(classifier: Classifier, source: Source[Labelled]) -> tuple[Result, ...]:
    section = AccuracyEvaluation(kind="accuracy", bootstrap=0)
    # Unreadable images were judged when the run was evaluated; here they only have to be the same on both sides.
    return (evaluate_accuracy(classifier, source, section, corrupt_limit=1.0),)
