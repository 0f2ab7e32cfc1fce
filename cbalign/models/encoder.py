"""A PyTorch model as an encoder for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cbalign.data.arrays import FloatArray, IntArray, PixelArray
from cbalign.data.image import Preprocessing
from cbalign.data.text import Tokenizer
from cbalign.encoders import CodeAssignment, ImageFeatures, TextFeatures
from cbalign.errors import UsageError
from cbalign.models.aligned import Aligned
from cbalign.models.graphs import graph_modules

S = TypeVar("S", bound=np.generic)


class TorchEncoder:
    """Runs the graphs of a model in float32, without gradients; implements `cbalign.encoders.Encoder`.

    Args:
        model: the trained model; it is put into evaluation mode for each call and left as it was.
        tokenizer: the one it was trained with.
        device: where the model lies.
    """

    def __init__(self, model: Aligned, tokenizer: Tokenizer, device: torch.device) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.device = device
        self.graphs = graph_modules(model)

    @property
    def module(self) -> nn.Module:
        """The PyTorch module, in evaluation mode."""
        return cast(nn.Module, self.model)

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.preprocessing.size

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become the tower's input."""
        return self.model.student.vision.preprocessing

    @property
    def has_codebook(self) -> bool:
        """Whether `assign` works."""
        return "codebook" in self.graphs

    @property
    def has_matcher(self) -> bool:
        """Whether `match` works."""
        return "match" in self.graphs

    def encode_images(self, pixels: PixelArray) -> ImageFeatures:
        """Encode prepared images (B, H, W, 3), uint8 RGB."""
        tokens, embedding = self._run("image", pixels)
        return ImageFeatures(_array(tokens), _array(embedding))

    def encode_texts(self, texts: Sequence[str]) -> TextFeatures:
        """Tokenize and encode raw texts, padded to the longest of them."""
        encoded = self.tokenizer.encode(texts)
        tokens, embedding = self._run("text", encoded.input_ids, encoded.attention_mask)
        return TextFeatures(_array(tokens), encoded.attention_mask, _array(embedding))

    def embed_images(self, pixels: PixelArray) -> FloatArray:
        """Unit vectors (B, d) of prepared images."""
        return _array(self._run("image", pixels)[1])

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors (B, d) of raw texts."""
        encoded = self.tokenizer.encode(texts)
        return _array(self._run("text", encoded.input_ids, encoded.attention_mask)[1])

    def match(self, images: ImageFeatures, texts: TextFeatures, image_index: IntArray) -> FloatArray:
        """Match scores (T,) of text t with image `image_index[t]`."""
        (scores,) = self._run("match", images.tokens, texts.tokens, texts.attention_mask, image_index)
        return _array(scores)

    def assign(self, embedding: FloatArray) -> CodeAssignment:
        """Assign unit vectors (B, d) to the codebook."""
        probabilities, code, prototype = self._run("codebook", embedding)
        return CodeAssignment(_array(probabilities), code.cpu().numpy(), _array(prototype))

    @torch.inference_mode()
    def _run(self, name: str, *inputs: NDArray[S]) -> tuple[Tensor, ...]:
        if name not in self.graphs:
            raise UsageError(f"this model has no {name} part: its objective had weight 0 in training")
        graph: nn.Module = self.graphs[name]
        training = self.model.training
        if training:
            self.model.eval()
        outputs = graph(*(torch.from_numpy(x).to(self.device) for x in inputs))
        if training:
            self.model.train()
        return outputs if isinstance(outputs, tuple) else (outputs,)


def _array(tensor: Tensor) -> FloatArray:
    return tensor.float().cpu().numpy()
