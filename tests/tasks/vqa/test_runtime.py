"""Ranking and generating around the graphs, against the decoder that is checked against ALBEF's own code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cbalign.data.text import TextSettings, Tokenizer
from cbalign.models.bert import BertConfig, BertTextTower, FusionEncoder
from cbalign.models.vision import TimmVisionTower
from cbalign.tasks.vqa.graphs import TorchAnswerGraphs
from cbalign.tasks.vqa.network import AnswerDecoder, AnsweringNetwork
from cbalign.tasks.vqa.runtime import Answerer

ANSWERS = ("yes", "no", "a red ball", "red", "red blocks", "two", "(2)")
QUESTIONS = ["What is red?", "Is there a ball in the picture?", "How many?"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([*ANSWERS, *QUESTIONS], 100, TextSettings(max_tokens=12))


@pytest.fixture(scope="module")
def network(tokenizer: Tokenizer) -> AnsweringNetwork:
    torch.manual_seed(0)
    sizes = BertConfig(tokenizer.vocabulary_size, width=16, layers=2, heads=2, intermediate=20, positions=20)
    vision = TimmVisionTower("vit_tiny_patch16_224", 16, patch_size=8, layers=1, width=24, heads=2)
    network = AnsweringNetwork(
        vision, BertTextTower(sizes, 1, 0.1), FusionEncoder(sizes, 2, 24, 0.1), AnswerDecoder(sizes, 2, 0.1)
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


@pytest.fixture(scope="module")
def answerer(network: AnsweringNetwork, tokenizer: Tokenizer) -> Answerer:
    return Answerer(TorchAnswerGraphs(network, torch.device("cpu")), tokenizer, ANSWERS, 16)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)


INDEX = np.array([1, 0, 1])


def read(network: AnsweringNetwork, tokenizer: Tokenizer, pixels: np.ndarray, questions: list[str], index: np.ndarray):  # type: ignore[no-untyped-def]
    """The questions as the network itself reads them, image by image."""
    tokens = tokenizer.encode(questions)
    images = torch.from_numpy(pixels[index]).permute(0, 3, 1, 2)
    return network.read(images, torch.from_numpy(tokens.input_ids), torch.from_numpy(tokens.attention_mask))


@torch.no_grad()
@pytest.mark.parametrize("k", [2, 4, 100])
def test_answers_are_ranked_as_the_decoder_ranks_them(network, tokenizer, answerer, pixels, k) -> None:  # type: ignore[no-untyped-def]
    found = answerer.rank(pixels, QUESTIONS, INDEX, k)
    network.eval()
    list_of = tokenizer.encode_answers(ANSWERS)
    ids, mask = torch.from_numpy(list_of.input_ids), torch.from_numpy(list_of.attention_mask)
    expected = network.decoder.rank(read(network, tokenizer, pixels, QUESTIONS, INDEX), ids, mask, k)
    assert found.probability == pytest.approx(expected.probability.numpy(), rel=1e-4)
    if k >= len(ANSWERS):  # below it, answers with one first token may be cut differently
        assert found.index.tolist() == expected.index.tolist()
    assert found.probability.sum(axis=1) == pytest.approx([1] * 3)


@torch.no_grad()
def test_generation_takes_the_likeliest_token_until_sep(network, tokenizer, answerer, pixels) -> None:  # type: ignore[no-untyped-def]
    network.eval()
    expected = []
    for text, image in zip(QUESTIONS, INDEX):
        question = read(network, tokenizer, pixels, [text], np.array([image]))
        written = [tokenizer.cls_id]
        while len(written) <= 5 and (written[-1] != tokenizer.sep_id):
            ids = torch.tensor([written])
            written.append(int(network.decoder(ids, torch.ones_like(ids), question)[0, -1].argmax()))
        expected.append(tokenizer.decode(written))
    assert answerer.generate(pixels, QUESTIONS, INDEX, 5) == expected


def test_a_question_is_answered_alike_alone_and_among_longer_ones(answerer: Answerer, pixels: np.ndarray) -> None:
    together = answerer.rank(pixels, QUESTIONS, INDEX, 100)
    for i, question in enumerate(QUESTIONS):
        alone = answerer.rank(pixels[INDEX[i] : INDEX[i] + 1], [question], np.array([0]), 100)
        assert alone.index[0].tolist() == together.index[i].tolist()
        assert alone.probability[0] == pytest.approx(together.probability[i], rel=1e-4)


def test_many_answers_are_scored_in_parts(answerer: Answerer, pixels: np.ndarray, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    whole = answerer.rank(pixels, QUESTIONS, INDEX, 100)
    monkeypatch.setattr("cbalign.tasks.vqa.runtime._ANSWERS_PER_CALL", 5)
    parts = answerer.rank(pixels, QUESTIONS, INDEX, 100)
    assert parts.index.tolist() == whole.index.tolist()
    assert parts.probability == pytest.approx(whole.probability, rel=1e-5)


def test_answers_end_in_sep_and_keep_their_punctuation(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode_answers(["(2)", "yes"])
    assert len(tokenizer.word_ids("(2)")) == 3
    assert tokens.input_ids.tolist() == [
        [tokenizer.cls_id, *tokenizer.word_ids("(2)"), tokenizer.sep_id],
        [tokenizer.cls_id, *tokenizer.word_ids("yes"), tokenizer.sep_id, tokenizer.pad_id, tokenizer.pad_id],
    ]
    assert tokens.attention_mask.tolist() == [[1] * 5, [1, 1, 1, 0, 0]]
