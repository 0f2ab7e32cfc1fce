"""The three graphs of an answering model, for evaluation in PyTorch and for export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cbalign.data.arrays import FloatArray, IntArray, PixelArray
from cbalign.data.text import Tokenizer
from cbalign.tasks.vqa.network import AnsweringNetwork
from cbalign.tasks.vqa.runtime import Answerer


class VisionGraph(nn.Module):
    """Pixels to image tokens."""

    def __init__(self, network: AnsweringNetwork) -> None:
        super().__init__()
        self.vision = network.vision

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (I, H, W, 3), uint8 RGB, to tokens (I, N, D)."""
        tokens: Tensor = self.vision(pixels.permute(0, 3, 1, 2))
        return tokens


class QuestionGraph(nn.Module):
    """Image tokens and questions to fused tokens; each image is read once, however many questions are about it."""

    def __init__(self, network: AnsweringNetwork) -> None:
        super().__init__()
        self.text = network.text
        self.fusion = network.fusion

    def forward(self, image_tokens: Tensor, input_ids: Tensor, attention_mask: Tensor, image_index: Tensor) -> Tensor:
        """Fused tokens (Q, L, D) of questions (Q, L) about images `image_index` (Q,) of tokens (I, N, D)."""
        images = (layer.select(image_index) for layer in self.fusion.read_layers(image_tokens))
        fused: Tensor = self.fusion(self.text(input_ids, attention_mask), attention_mask, images)
        return fused


class AnswerGraph(nn.Module):
    """One step of the decoder, and how likely the steps before it were."""

    def __init__(self, network: AnsweringNetwork) -> None:
        super().__init__()
        self.decoder = network.decoder

    def forward(
        self, question_tokens: Tensor, question_mask: Tensor, answer_ids: Tensor, question_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Answers (A, M) to questions `question_index` (A,) of fused tokens (Q, L, D) and mask (Q, L).

        No token sees those after it, so padding behind an answer changes nothing before it.

        Returns:
            (A, M - 1) log-probability of each token after the first, and (A, V) of each that may follow the last.
        """
        questions = self.decoder.read_questions(question_tokens, question_mask).select(question_index)
        log_p = self.decoder(answer_ids, torch.ones_like(answer_ids), questions).log_softmax(dim=2)  # (A, M, V)
        token = log_p[:, :-1].gather(2, answer_ids[:, 1:, None]).squeeze(2)
        return token, log_p[:, -1]


def answer_graph_modules(network: AnsweringNetwork) -> dict[str, nn.Module]:
    """The graphs of an answering model by name; they share its modules and follow its mode."""
    return {"vision": VisionGraph(network), "question": QuestionGraph(network), "answer": AnswerGraph(network)}


class TorchAnswerGraphs:
    """Runs the graphs in float32, without gradients; implements `cbalign.tasks.vqa.runtime.AnswerGraphs`.

    Args:
        network: the student; each call switches it to evaluation mode and back.
        device: the network's device.
    """

    def __init__(self, network: AnsweringNetwork, device: torch.device) -> None:
        self._network = network
        self._device = device
        self.graphs: Mapping[str, nn.Module] = answer_graph_modules(network)

    def read_images(self, pixels: PixelArray) -> FloatArray:
        """Tokens (I, N, D) of prepared images."""
        return self._run("vision", pixels)[0]

    def read_questions(
        self, image_tokens: FloatArray, input_ids: IntArray, attention_mask: IntArray, image_index: IntArray
    ) -> FloatArray:
        """Fused tokens (Q, L, D) of questions."""
        return self._run("question", image_tokens, input_ids, attention_mask, image_index)[0]

    def score_answers(
        self, question_tokens: FloatArray, question_mask: IntArray, answer_ids: IntArray, question_index: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Log-probabilities (A, M - 1) of the tokens, and (A, V) of what may follow."""
        token, following = self._run("answer", question_tokens, question_mask, answer_ids, question_index)
        return token, following

    @torch.inference_mode()
    def _run(self, name: str, *inputs: NDArray[np.generic]) -> tuple[FloatArray, ...]:
        training = self._network.training
        if training:
            self._network.eval()
        outputs = self.graphs[name](*(torch.from_numpy(x).to(self._device) for x in inputs))
        if training:
            self._network.train()
        found = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(tensor.float().cpu().numpy() for tensor in found)


class TorchAnswerer(Answerer):
    """A PyTorch model that answers questions.

    Args:
        network: the student.
        tokenizer: the one it was trained with.
        answers: the closed list.
        device: the network's device.
    """

    def __init__(
        self, network: AnsweringNetwork, tokenizer: Tokenizer, answers: Sequence[str], device: torch.device
    ) -> None:
        self.network = network
        self.device = device
        self.torch_graphs = TorchAnswerGraphs(network, device)
        super().__init__(self.torch_graphs, tokenizer, answers, network.vision.preprocessing)

    @property
    def module(self) -> nn.Module:
        """The PyTorch module, in evaluation mode."""
        return self.network
