"""A PyTorch classifier of texts about images, and the graph that it is exported as."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cbalign.data.arrays import FloatArray, PixelArray
from cbalign.data.image import Preprocessing
from cbalign.data.text import Tokenizer
from cbalign.models.tower import VisionTower


class ClassifyingNetwork(nn.Module):
    """The base of networks that classify texts about images.

    `forward` takes as many batches of images (B, 3, H, W) as an item has, token ids and attention mask (B, L), and
    returns logits (B, C).
    """

    vision: VisionTower


class ClassifyGraph(nn.Module):
    """Texts about n images each, to logits of classes."""

    def __init__(self, network: ClassifyingNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Classify texts (B, L) about pixels (B, n, H, W, 3), uint8 RGB: logits (B, C)."""
        images = [image.permute(0, 3, 1, 2) for image in pixels.unbind(dim=1)]
        logits: Tensor = self.network(*images, input_ids, attention_mask)
        return logits


class TorchClassifier:
    """Runs a network in float32, without gradients; implements `cbalign.encoders.Classifier`.

    Args:
        network: the student; each call switches it to evaluation mode and back.
        tokenizer: the one it was trained with.
        device: the network's device.
        labels: names of the classes, in the order of the logits.
    """

    def __init__(
        self,
        network: ClassifyingNetwork,
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
    def module(self) -> nn.Module:
        """The PyTorch module, in evaluation mode."""
        return self.network

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.preprocessing.size

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become the tower's input."""
        return self.network.vision.preprocessing

    @torch.inference_mode()
    def classify(self, pixels: PixelArray, texts: Sequence[str]) -> FloatArray:
        """Classify raw texts, each about n prepared images (B, n, H, W, 3): logits (B, C)."""
        tokens = self.tokenizer.encode(texts)
        inputs = (torch.from_numpy(array) for array in (pixels, tokens.input_ids, tokens.attention_mask))
        training = self.network.training
        if training:
            self.network.eval()
        logits: FloatArray = self.graph(*(tensor.to(self.device) for tensor in inputs)).float().cpu().numpy()
        if training:
            self.network.train()
        return logits
