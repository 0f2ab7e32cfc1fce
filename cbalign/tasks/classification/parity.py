"""Export and parity checks of models that classify texts about images.

The checks compare, in order: logits for several batch sizes and lengths; a text alone and next to a longer one; token
ids and pixels of raw inputs; classes and their accuracy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cbalign.data.arrays import PixelArray
from cbalign.data.image import Preprocessing, prepare
from cbalign.data.items import Labelled
from cbalign.data.source import Source
from cbalign.data.text import Tokenizer
from cbalign.data.wrapped_source import FirstItems
from cbalign.encoders import Classifier
from cbalign.evaluation.scored import ScoredResult
from cbalign.exporting.exportable import parameter_bytes
from cbalign.exporting.parity import WHOLE, Feed, difference
from cbalign.exporting.parity_checks import ParityChecks, Part
from cbalign.exporting.sample import batch_sizes, readable_items, texts_of_all_lengths
from cbalign.exporting.scored import scored_checks
from cbalign.runtime.golden import write_golden
from cbalign.runtime.precisions import REFERENCE
from cbalign.runtime.session import Session
from cbalign.tasks.classification.metric import AccuracyEvaluator
from cbalign.tasks.classification.model import TorchClassifier
from cbalign.tasks.classification.runtime import LABELS_FILE, open_classifier
from cbalign.tasks.classification.section import AccuracyEvaluation

_TASK_ITEMS = 512
_GOLDEN_ITEMS = 4


@dataclass(frozen=True)
class ClassifyingExportable:
    """Implements `Exportable` for classification.

    Args:
        classifier: the trained model, on the CPU.
        items: real items.
        positions: positions of the compared items in the source.
        pixels: their prepared images (B, n, H, W, 3).
        texts: as many texts; the first is the shortest, the second is long.
        results: accuracy of the model.
    """

    classifier: TorchClassifier
    items: Source[Labelled]
    positions: tuple[int, ...]
    pixels: PixelArray
    texts: tuple[str, ...]
    results: tuple[ScoredResult, ...]

    @classmethod
    def of(cls, classifier: TorchClassifier, source: Source[Labelled]) -> ClassifyingExportable:
        """Run the model on real items.

        Raises:
            DataError: no image can be read.
        """
        classifier.network.eval()
        items = FirstItems(source, _TASK_ITEMS)
        positions, pixels = readable_items(items, classifier.preprocessing)
        texts = texts_of_all_lengths(items, 2 * classifier.tokenizer.settings.max_words)
        # Repeat the shorter list, so that there are as many images as texts.
        count = max(len(pixels), len(texts))
        pixels = pixels[np.arange(count) % len(pixels)]
        texts = tuple(texts[i % len(texts)] for i in range(count))
        return cls(classifier, items, positions, pixels, texts, _evaluate(classifier, items))

    @property
    def graphs(self) -> Mapping[str, nn.Module]:
        """One graph, from pixels and token ids to logits."""
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
        """Weights of the student."""
        return parameter_bytes(self.classifier.network)

    @property
    def source(self) -> str:
        """Name of the items."""
        return self.items.name

    def examples(self) -> Mapping[str, tuple[Tensor, ...]]:
        """Return three items."""
        return {"classify": tuple(torch.from_numpy(array) for array in self.feed(3))}

    def feed(self, size: int) -> Feed:
        """Return the graph's inputs for the first items."""
        tokens = self.tokenizer.encode(self.texts[:size])
        return self.pixels[:size], tokens.input_ids, tokens.attention_mask

    def write_assets(self, folder: Path) -> None:
        """Write the class names."""
        (folder / LABELS_FILE).write_text(json.dumps(self.classifier.labels, indent=1) + "\n", encoding="utf-8")

    def parity_checks(self, session: Session, precision: str, report: Callable[[str], None]) -> ClassifyingChecks:
        """Return the classification checks."""
        return ClassifyingChecks(self, open_classifier(session), session.tokenizer, precision, report)

    def write_golden(self, sessions: Mapping[str, Session], path: Path) -> None:
        """Record the outputs for a few items."""
        pixels, texts = self.pixels[:_GOLDEN_ITEMS], self.texts[:_GOLDEN_ITEMS]
        outputs = {name: {"logits": open_classifier(side).classify(pixels, texts)} for name, side in sessions.items()}
        write_golden({REFERENCE: {"logits": self.classifier.classify(pixels, texts)}} | outputs, pixels, texts, path)


class ClassifyingChecks(ParityChecks):
    """Parity checks for classification.

    Args:
        expected: the trained model and its inputs.
        exported: the bundle, in this precision.
        tokenizer: the bundle's tokenizer.
        precision: sets the limits.
        report: progress callback.
    """

    def __init__(
        self,
        expected: ClassifyingExportable,
        exported: Classifier,
        tokenizer: Tokenizer,
        precision: str = REFERENCE,
        report: Callable[[str], None] = lambda stage: None,
    ) -> None:
        super().__init__(precision, report)
        self._expected = expected
        self._exported = exported
        self._tokenizer = tokenizer

    def _parts(self) -> Iterable[Part]:
        return ("classify", self._logits), ("inputs", self._inputs), ("accuracy", self._task)

    def _logits(self) -> None:
        pixels, texts, limit = self._expected.pixels, self._expected.texts, self.limits.scores
        for size in batch_sizes(len(texts)):
            feed = self._expected.feed(size)
            quantity = f"logits of {size} texts, padded to {feed[1].shape[1]}"
            wanted = self._expected.classifier.classify(pixels[:size], texts[:size])
            with self._attempt("torch", "classify", quantity, feed):
                found = self._exported.classify(pixels[:size], texts[:size])
                self._compare("classify", quantity, found, wanted, difference, limit, feed)
        quantity = "logits of a text next to a longer one"
        with self._attempt("independence", "classify", quantity):
            alone, beside = (self._exported.classify(pixels[:size], texts[:size])[:1] for size in (1, 2))
            self._independent("classify", quantity, beside, alone, difference, limit)

    def _inputs(self) -> None:
        expected = self._expected
        found, wanted = (side.encode(expected.texts) for side in (self._tokenizer, expected.tokenizer))
        self._same("classify", f"tokenization of {len(expected.texts)} texts", (found.input_ids, wanted.input_ids),
                   (found.attention_mask, wanted.attention_mask))  # fmt: skip
        how = self._exported.preprocessing
        pixels = [[prepare(image, how) for image in expected.items.images(position)] for position in expected.positions]
        self._same("classify", "pixels of raw images", (np.array(pixels), expected.pixels[: len(pixels)]))

    def _task(self) -> None:
        with self._attempt("task", WHOLE, "classes"):
            results = self._results = _evaluate(self._exported, self._expected.items)
            self._checks += scored_checks(results, self._expected.results, self.limits)


def _evaluate(classifier: Classifier, source: Source[Labelled]) -> tuple[ScoredResult, ...]:
    section = AccuracyEvaluation(kind="accuracy", bootstrap=0)
    # The run's evaluation reported unreadable images; here both sides only need the same ones.
    return AccuracyEvaluator(section).evaluate(classifier, source, corrupt_limit=1.0)
