import torch
from hypothesis import given
from hypothesis import strategies as st

from cbalign.objectives.classification import distilled_cross_entropy
from cbalign.tasks.vqa.loss import answer_losses, weighted_answers
from tests.objectives import equations
from tests.objectives.tensors import close, normal, seeds


@given(
    answers=st.integers(1, 5),
    length=st.integers(2, 6),
    vocabulary=st.integers(2, 9),
    alpha=st.sampled_from([0.0, 0.4, 1.0]),
    taught=st.booleans(),
    questions=st.integers(1, 4),
    seed=seeds,
)
def test_weighted_answers_are_the_equation(answers, length, vocabulary, alpha, taught, questions, seed):
    logits, teacher = (normal(answers, length - 1, vocabulary, seed=seed + i, scale=3) for i in range(2))
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocabulary, (answers, length), generator=draw)
    tokens = torch.randint(2, length + 1, (answers,), generator=draw)  # [CLS] and one token at least
    mask = (torch.arange(length)[None, :] < tokens[:, None]).long()
    weights = torch.rand(answers, generator=draw)
    losses = answer_losses(logits, ids, mask, teacher if taught else None, alpha)
    total = 0.0
    for a in range(answers):
        words = range(int(tokens[a]) - 1)
        slow = equations.distilled_losses(
            [logits[a, i].tolist() for i in words],
            [int(ids[a, i + 1]) for i in words],
            [teacher[a, i].tolist() for i in words] if taught else None,
            alpha,
        )
        assert close(losses[a], sum(slow))
        total += float(weights[a]) * sum(slow)
    assert close(weighted_answers(losses, weights, questions), total / questions)


def test_distillation_teaches_the_student_only():
    student, teacher = (normal(3, 4, seed=i).requires_grad_() for i in range(2))
    distilled_cross_entropy(student, torch.tensor([0, 1, 3]), teacher, 0.4).mean().backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
