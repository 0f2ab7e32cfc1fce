import pytest
import torch

from cbalign.models.bert import BertConfig, BertTextTower, FusionEncoder, MaskedLanguageHead
from cbalign.tasks.vqa.network import AnswerDecoder

SIZES = BertConfig(vocabulary=30, width=16, layers=3, heads=2, intermediate=20, positions=12)
CLS, SEP = 1, 2
ANSWERS = torch.tensor(
    [[CLS, 5, SEP, 0, 0], [CLS, 5, 6, SEP, 0], [CLS, 7, 8, 9, SEP], [CLS, 11, SEP, 0, 0], [CLS, 4, 4, SEP, 0]]
)


@pytest.fixture
def decoder() -> AnswerDecoder:
    torch.manual_seed(0)
    decoder = AnswerDecoder(SIZES, layers=3, dropout=0.1).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return decoder


@pytest.fixture
def questions(decoder):
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    with torch.no_grad():
        return decoder.read_questions(torch.randn(2, 4, 16), mask)


@torch.no_grad()
def token_by_token(decoder, questions, question: int, answer: list[int]) -> list[float]:
    """Log-probabilities of an answer's tokens, each from a pass over the tokens before it."""
    found = []
    for i in range(1, len(answer)):
        prefix = torch.tensor([answer[:i]])
        logits = decoder(prefix, torch.ones_like(prefix), questions.select(torch.tensor([question])))
        found.append(logits[0, -1].log_softmax(dim=0)[answer[i]].item())
    return found


@pytest.mark.parametrize("k", [1, 3, 5, 100])
def test_answers_are_ranked_by_likelihood_with_the_first_token_counted_twice(decoder, questions, k):
    ranked = decoder.rank(questions, ANSWERS, (ANSWERS != 0).long(), k)
    k = min(k, len(ANSWERS))
    assert ranked.index.shape == ranked.probability.shape == (2, k)
    for question in range(2):
        log_p = [token_by_token(decoder, questions, question, [t for t in row if t]) for row in ANSWERS.tolist()]
        likeliest = sorted(range(len(ANSWERS)), key=lambda a: -log_p[a][0])[:k]
        if {log_p[a][0] for a in likeliest} & {log_p[a][0] for a in set(range(len(ANSWERS))) - set(likeliest)}:
            continue  # answers with the same first token on both sides of the cut: either may be a candidate
        scores = torch.tensor([log_p[a][0] + sum(log_p[a]) for a in likeliest], dtype=torch.float64)
        expected = sorted(zip(scores.softmax(dim=0).tolist(), likeliest, strict=True), reverse=True)
        assert ranked.index[question].tolist() == [answer for _, answer in expected]
        assert ranked.probability[question].tolist() == pytest.approx([p for p, _ in expected], rel=1e-4)


@torch.no_grad()
def test_a_longer_list_does_not_change_an_answers_likelihood(decoder, questions):
    mask, all_of = (ANSWERS != 0).long(), torch.arange(5).expand(2, 5)
    together = decoder.log_likelihood(questions, ANSWERS, mask, all_of)
    alone = decoder.log_likelihood(questions, ANSWERS[:2, :4], mask[:2, :4], all_of[:, :2])
    assert torch.allclose(together[:, :2], alone, atol=1e-5)


def test_the_decoder_starts_from_the_fusion_layers():
    text, fusion = BertTextTower(SIZES, 1, 0.1), FusionEncoder(SIZES, 3, image_width=16, dropout=0.1)
    head = MaskedLanguageHead(SIZES)
    decoder = AnswerDecoder(SIZES, 3, 0.1)
    decoder.start_from(text, fusion, head)
    taken = {f"embeddings.{n}": t for n, t in text.embeddings.state_dict().items()}
    taken |= fusion.state_dict() | {f"head.{n}": t for n, t in head.state_dict().items()}
    assert all(tensor.equal(taken[name]) for name, tensor in decoder.state_dict().items())


def test_image_projections_of_another_width_are_left_to_chance():
    text, fusion = BertTextTower(SIZES, 1, 0.1), FusionEncoder(SIZES, 3, image_width=40, dropout=0.1)
    decoder = AnswerDecoder(SIZES, 3, 0.1)
    before = decoder.layers[0].cross_attention.key.weight.detach().clone()
    decoder.start_from(text, fusion, None)
    assert decoder.layers[0].cross_attention.key.weight.equal(before)
    assert decoder.layers[2].cross_attention.query.weight.equal(fusion.layers[2].cross_attention.query.weight)
