"""The network for visual question answering: a decoder scores answers (ALBEF, models/model_vqa.py)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cbalign.experiment.model import ModelSection
from cbalign.models.backbone import build_backbone
from cbalign.models.bert import BertConfig, FusionEncoder, MaskedLanguageHead
from cbalign.models.bert_layers import BertEmbeddings, BertLayer, KeyValues, initialise, key_mask
from cbalign.models.image_text import ImageTextEncoder
from cbalign.models.momentum import Distilled
from cbalign.models.tower import TextTower, VisionTower


@dataclass(frozen=True)
class Questions:
    """Q questions about their images, as every answer to them reads them."""

    layers: tuple[KeyValues, ...]  # per decoder layer: keys and values of the fused tokens (Q, L, D)
    attention_mask: Tensor  # (Q, L)

    def __len__(self) -> int:
        return len(self.attention_mask)

    def select(self, index: Tensor) -> Questions:
        """Questions `index` (A,), with repetition."""
        return Questions(tuple(layer.select(index) for layer in self.layers), self.attention_mask[index])


@dataclass(frozen=True)
class RankedAnswers:
    """The k most likely answers to each of Q questions, best first."""

    index: Tensor  # (Q, k) rows of the answer list
    probability: Tensor  # (Q, k), sums to one over these k


class AnswerDecoder(nn.Module):
    """BERT layers with causal self-attention that attend to a question's fused tokens, and a vocabulary head.

    Args:
        config: sizes of the text model.
        layers: number of layers.
        dropout: in attention and feed-forward parts.
    """

    part_name = "answer decoder"

    def __init__(self, config: BertConfig, layers: int, dropout: float) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(config, dropout)
        self.layers = nn.ModuleList(BertLayer(config, dropout, config.width) for _ in range(layers))
        self.head = MaskedLanguageHead(config)
        initialise(self, config.initializer_range)

    @torch.no_grad()
    def start_from(self, text: TextTower, fusion: FusionEncoder, head: MaskedLanguageHead | None) -> None:
        """Take the pretrained embeddings, the fusion layers and, where there is one, the masked-language head.

        Keys and values of cross-attention are taken where image tokens are as wide as text tokens; else they stay
        as they are.
        """
        text.initialise_embeddings(self.embeddings)
        for own, layer in zip(self.layers, fusion.layers, strict=True):
            weights = layer.state_dict()
            own_weights = own.state_dict()
            own.load_state_dict(
                {n: weights[n] if weights[n].shape == t.shape else t for n, t in own_weights.items()},
            )
        if head is not None and head.norm.weight.shape == self.head.norm.weight.shape:
            self.head.load_state_dict(head.state_dict())

    def read_questions(self, question_tokens: Tensor, attention_mask: Tensor) -> Questions:
        """Compute keys and values of fused question tokens (Q, L, D) with mask (Q, L), once per question."""
        layers = tuple(layer.cross_attention.read(question_tokens) for layer in self.layers)  # type: ignore[union-attr,operator]
        return Questions(layers, attention_mask)

    def forward(self, answer_ids: Tensor, answer_mask: Tensor, questions: Questions) -> Tensor:
        """Logits (A, L, V): at position i of the token after tokens 0 … i of each answer, row by row with `questions`.

        Args:
            answer_ids, answer_mask: (A, L), beginning with [CLS].
            questions: A of them.
        """
        length = answer_ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=answer_ids.device).tril()
        mask = key_mask(answer_mask) & causal  # (A, 1, L, L)
        question_mask = key_mask(questions.attention_mask)
        hidden = self.embeddings(answer_ids)
        for layer, question in zip(self.layers, questions.layers, strict=True):
            hidden = layer(hidden, mask, question, image_mask=question_mask)
        logits: Tensor = self.head(hidden, self.embeddings.words.weight)
        return logits

    def predict_tokens(self, answer_ids: Tensor, answer_mask: Tensor, questions: Questions) -> Tensor:
        """Logits (A, L - 1, V) of each answer's tokens after the first, given those before: teacher forcing."""
        logits: Tensor = self(answer_ids[:, :-1], answer_mask[:, :-1], questions)
        return logits

    @torch.no_grad()
    def rank(self, questions: Questions, answer_ids: Tensor, answer_mask: Tensor, k: int) -> RankedAnswers:
        """The k best of a closed list of N answers for each question, by likelihood.

        The list is cut to the k answers whose first token is likeliest; these are scored whole. As published, an
        answer's score is log p(first token) + Σ log p(token), with the first token in the sum as well.

        Args:
            questions: Q of them.
            answer_ids, answer_mask: (N, L), beginning with [CLS] and ending in [SEP].
            k: candidates that are scored whole; N where there are fewer.
        """
        first = self.first_token(questions, answer_ids)
        candidates = first.topk(min(k, len(answer_ids)), dim=1).indices
        scores = first.gather(1, candidates) + self.log_likelihood(questions, answer_ids, answer_mask, candidates)
        probability, order = scores.softmax(dim=1).sort(dim=1, descending=True, stable=True)
        return RankedAnswers(candidates.gather(1, order), probability)

    def first_token(self, questions: Questions, answer_ids: Tensor) -> Tensor:
        """Log-probability (Q, N) of the first token of each of N answers (N, L) to each of Q questions."""
        start = answer_ids[:1, :1].expand(len(questions), 1)
        logits = self(start, torch.ones_like(start), questions)[:, 0]
        log_p: Tensor = logits.float().log_softmax(dim=1)[:, answer_ids[:, 1]]
        return log_p

    def log_likelihood(
        self, questions: Questions, answer_ids: Tensor, answer_mask: Tensor, candidates: Tensor
    ) -> Tensor:
        """Σ log p(token) (Q, k) of answers `candidates` (Q, k), rows of the list (N, L)."""
        flat = candidates.flatten()
        each = questions.select(torch.arange(len(questions), device=flat.device).repeat_interleave(candidates.shape[1]))
        log_p = self.predict_tokens(answer_ids[flat], answer_mask[flat], each).float().log_softmax(dim=2)
        tokens = log_p.gather(2, answer_ids[flat, 1:, None]).squeeze(2)  # (Q k, L - 1)
        return (tokens * answer_mask[flat, 1:]).sum(dim=1).view(candidates.shape)


class AnsweringNetwork(ImageTextEncoder):
    """Image and question through towers and fusion layers, answers through the decoder."""

    def __init__(self, vision: VisionTower, text: TextTower, fusion: FusionEncoder, decoder: AnswerDecoder) -> None:
        super().__init__(vision, text, fusion)
        self.decoder = decoder

    def read(self, images: Tensor, question_ids: Tensor, question_mask: Tensor) -> Questions:
        """Questions (Q, L) about images (Q, 3, H, W), read for the decoder."""
        return self.decoder.read_questions(self.fuse(images, question_ids, question_mask), question_mask)

    def forward(
        self,
        images: Tensor,
        question_ids: Tensor,
        question_mask: Tensor,
        answer_ids: Tensor,
        answer_mask: Tensor,
        question_of_answer: Tensor,
    ) -> Tensor:
        """Logits (A, L - 1, V) of the tokens of answers (A, L) to questions `question_of_answer` (A,)."""
        questions = self.read(images, question_ids, question_mask)
        return self.decoder.predict_tokens(answer_ids, answer_mask, questions.select(question_of_answer))


def build_answering(section: ModelSection, vocabulary: int, *, initialise: bool = True) -> Distilled[AnsweringNetwork]:
    """Build the model, with as many decoder layers as fusion layers.

    Args:
        section: sizes and initial weights.
        vocabulary: number of tokens that the tokenizer knows.
        initialise: whether to load the weights that the section names.
    """
    parts = build_backbone(section, vocabulary, initialise=initialise, head=True)
    decoder = AnswerDecoder(parts.fused.config, section.fusion.layers, parts.text.dropout)
    decoder.start_from(parts.text, parts.fused, parts.head)
    network = AnsweringNetwork(parts.vision, parts.text, parts.fused, decoder)
    return Distilled(network, section.teacher.follows)
