"""Export of a model that aligns images and texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cbalign.data.image import Preprocessing
from cbalign.data.items import Pair
from cbalign.data.source import Source
from cbalign.data.text import Tokenizer
from cbalign.evaluation.result import Result
from cbalign.exporting.exportable import parameter_bytes
from cbalign.models.encoder import TorchEncoder
from cbalign.runtime.golden import write_golden
from cbalign.runtime.precisions import REFERENCE
from cbalign.runtime.session import Session
from cbalign.tasks.align.parity import AlignmentChecks, Expected
from cbalign.tasks.align.runtime import alignment_outputs

_GOLDEN_PAIRS = 4


@dataclass(frozen=True)
class AlignmentExportable:
    """Implements `Exportable` for image-text alignment; `expected` holds the outputs of `encoder`."""

    encoder: TorchEncoder
    expected: Expected

    @classmethod
    def of(cls, encoder: TorchEncoder, source: Source[Pair]) -> AlignmentExportable:
        """Run the model on real inputs.

        Raises:
            DataError: the source has no readable image.
        """
        encoder.model.eval()
        return cls(encoder, Expected.of(encoder, source))

    @property
    def graphs(self) -> Mapping[str, nn.Module]:
        """The model's graphs."""
        return self.encoder.graphs

    @property
    def tokenizer(self) -> Tokenizer:
        """The encoder's."""
        return self.encoder.tokenizer

    @property
    def preprocessing(self) -> Preprocessing:
        """Input size and pixel statistics of the image tower."""
        return self.encoder.model.student.vision.preprocessing

    @property
    def weights(self) -> int:
        """Weights of the student, codebook and match head; teacher and queues are not exported."""
        model = self.encoder.model
        return parameter_bytes(model.student, model.capability("codebook"), model.capability("matching"))

    @property
    def source(self) -> str:
        """Name of the image-text pairs."""
        return self.expected.source.name

    @property
    def results(self) -> tuple[Result, ...]:
        """Retrieval metrics."""
        return self.expected.results

    def examples(self) -> Mapping[str, tuple[Tensor, ...]]:
        """Return three images and five texts."""
        sample = self.expected.sample
        pixels = sample.pixels[np.arange(3) % len(sample.pixels)]
        words = [sample.texts[i % len(sample.texts)] for i in range(5)]
        tokens = self.tokenizer.encode(words)
        images, texts = self.encoder.encode_images(pixels), self.encoder.encode_texts(words)
        ids, mask = torch.from_numpy(tokens.input_ids), torch.from_numpy(tokens.attention_mask)
        index = torch.arange(len(words)) % len(pixels)
        return {
            "image": (torch.from_numpy(pixels),),
            "text": (ids, mask),
            "codebook": (torch.from_numpy(images.embedding),),
            "match": (torch.from_numpy(images.tokens), torch.from_numpy(texts.tokens), mask, index),
        }

    def write_assets(self, folder: Path) -> None:
        """Write nothing: the bundle needs no further files."""

    def parity_checks(self, session: Session, precision: str, report: Callable[[str], None]) -> AlignmentChecks:
        """Return the alignment checks."""
        return AlignmentChecks(self.expected, session, precision, report)

    def write_golden(self, sessions: Mapping[str, Session], path: Path) -> None:
        """Record the outputs for a few pairs."""
        sample = self.expected.sample
        pixels, texts = sample.pixels[:_GOLDEN_PAIRS], sample.texts[:_GOLDEN_PAIRS]
        outputs = {name: alignment_outputs(side, pixels, texts) for name, side in sessions.items()}
        write_golden({REFERENCE: alignment_outputs(self.encoder, pixels, texts)} | outputs, pixels, texts, path)
