"""A PyTorch classifier of texts about images, as evaluation sees it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cbalign.data.text import Tokenizer
from cbalign.encoders import FloatArray, PixelArray
from cbalign.models.entailment import EntailmentNetwork
from cbalign.models.graphs import ClassifyGraph
from cbalign.models.image_pairs import ImagePairNetwork


class TorchClassifier:
    """Runs a network in float32, without gradients; keeps `cbalign.encoders.Classifier`.

    Args:
        network: the student; it is put into evaluation mode for each call and left as it was.
        tokenizer: the one it was trained with.
        device: where the network lies.
        labels: names of the classes, in the order of the logits.
    """

    def __init__(
        self,
        network: EntailmentNetwork | ImagePairNetwork,
        tokenizer: Tokenizer,
        device: torch.device,
        labels: tuple[str, ...],
    ) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.device = device
        self.labels = labels
        self.graph = ClassifyGraph(network)

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.network.vision.image_size

    @torch.inference_mode()
    def classify(self, pixels: PixelArray, texts: Sequence[str]) -> FloatArray:
        """Logits (B, C) of raw texts, each about n prepared images (B, n, H, W, 3)."""
        tokens = self.tokenizer.encode(texts)
        inputs = (torch.from_numpy(array) for array in (pixels, tokens.input_ids, tokens.attention_mask))
        training = self.network.training
        if training:
            self.network.eval()
        logits: FloatArray = self.graph(*(tensor.to(self.device) for tensor in inputs)).float().cpu().numpy()
        if training:
            self.network.train()
        return logits
