"""A model that classifies texts about images, as export sees it, and its comparison with a bundle.

From the lowest rung up: logits for batches and lengths of several sizes; a text alone and beside a longer one; ids and
pixels of raw inputs; classes, and how often they are right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cbalign.data.image import prepare
from cbalign.data.items import FirstItems, ItemSource, Labelled
from cbalign.data.text import Tokenizer
from cbalign.encoders import Classifier, PixelArray
from cbalign.errors import BundleError, DivergenceError
from cbalign.evaluation.classification import evaluate_accuracy
from cbalign.evaluation.result import Result
from cbalign.export.parity import LIMITS, WHOLE, Check, Feed, Limits, PrecisionReport, Rung, difference
from cbalign.export.sample import BATCHES, readable_items, texts_of_all_lengths
from cbalign.export.scored import scored_checks
from cbalign.export.subject import bytes_of
from cbalign.models.classifier import TorchClassifier
from cbalign.runtime.classifying import LABELS_FILE, open_classifier
from cbalign.runtime.golden import classifying_outputs, write_golden
from cbalign.runtime.session import Session
from cbalign.spec.evaluation import AccuracyEvaluation

_TASK_ITEMS = 512
_GOLDEN_ITEMS = 4
_ORDER: tuple[Rung, ...] = ("torch", "independence", "inputs", "task")


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
    items: ItemSource[Labelled]
    positions: tuple[int, ...]
    pixels: PixelArray
    texts: tuple[str, ...]
    results: tuple[Result, ...]

    @classmethod
    def of(cls, classifier: TorchClassifier, source: ItemSource[Labelled]) -> ClassifyingSubject:
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
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.classifier.image_size

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
        write_golden({"fp32": classifying_outputs(self.classifier, pixels, texts)} | outputs, pixels, texts, path)


class ClassifyingLadder:
    """One precision of a bundle beside the trained model; keeps `cbalign.export.subject.Comparison`.

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
        precision: str = "fp32",
        report: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self.limits: Limits = LIMITS[precision]
        self.failing: dict[str, Feed] = {}
        self._subject = subject
        self._exported = exported
        self._tokenizer = tokenizer
        self._precision = precision
        self._report = report
        self._checks: list[Check] = []

    def climb(self) -> PrecisionReport:
        """Make every comparison; one that onnxruntime cannot even compute has failed."""
        for part, compare in (("classify", self._logits), ("inputs", self._inputs)):
            self._report(part)
            compare()
        self._report("accuracy")
        results = self._task()
        checks = sorted(self._checks, key=lambda check: _ORDER.index(check.rung))
        return PrecisionReport(self._precision, tuple(checks), results)

    def _logits(self) -> None:
        pixels, texts = self._subject.pixels, self._subject.texts
        for size in sorted({min(size, len(texts)) for size in BATCHES}):
            feed = self._subject.feed(size)
            quantity = f"logits of {size} texts, padded to {feed[1].shape[1]}"
            wanted = self._subject.classifier.classify(pixels[:size], texts[:size])
            try:
                found = self._exported.classify(pixels[:size], texts[:size])
            except BundleError as error:
                self._add("torch", quantity, np.inf, 0.0, f"cannot be computed: {error.message}")
                self.failing.setdefault("classify", feed)
                return
            if not self._add("torch", quantity, difference(found, wanted), self.limits.scores).passed:
                self.failing.setdefault("classify", feed)
        alone, beside = (self._exported.classify(pixels[:size], texts[:size])[:1] for size in (1, 2))
        off = difference(beside, alone)
        self._add("independence", "logits of a text beside a longer one", off, self.limits.scores)

    def _inputs(self) -> None:
        subject = self._subject
        found, wanted = (side.encode(subject.texts) for side in (self._tokenizer, subject.tokenizer))
        same = np.array_equal(found.input_ids, wanted.input_ids)
        self._add("inputs", f"tokenization of {len(subject.texts)} texts", 0.0 if same else np.inf, 0.5)
        position = subject.positions[0]
        pixels = [prepare(image, self._exported.image_size) for image in subject.items.images(position)]
        same = np.array_equal(np.stack(pixels), subject.pixels[0])
        self._add("inputs", "pixels of raw pictures", 0.0 if same else np.inf, 0.5)

    def _task(self) -> tuple[Result, ...]:
        try:
            found = _evaluate(self._exported, self._subject.items)
        except (BundleError, DivergenceError) as error:
            note = f"cannot be computed: {error.message}"
            self._checks.append(Check("task", WHOLE, "classes", np.inf, 0.0, note))
            return ()
        self._checks += scored_checks(found, self._subject.results, self.limits)
        return found

    def _add(self, rung: Rung, quantity: str, error: float, limit: float, note: str = "") -> Check:
        self._checks.append(Check(rung, "classify", quantity, error, limit, note))
        return self._checks[-1]


def _evaluate(classifier: Classifier, source: ItemSource[Labelled]) -> tuple[Result, ...]:
    section = AccuracyEvaluation(kind="accuracy", bootstrap=0)
    # Unreadable images were judged when the run was evaluated; here they only have to be the same on both sides.
    return (evaluate_accuracy(classifier, source, section, corrupt_limit=1.0),)
