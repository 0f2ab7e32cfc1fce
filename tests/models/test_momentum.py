import pytest
import torch
from torch import nn

from cbalign.models.momentum import Distilled, MomentumTeacher


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.995])
def test_the_teacher_follows_by_one_minus_momentum(momentum):
    student = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)).double()
    teacher = MomentumTeacher(student, momentum)
    expected = [p.detach().clone() for p in student.parameters()]
    for step in range(4):
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.add_(torch.full_like(parameter, 0.1 * (step + 1)))
        teacher.update(student)
        expected = [momentum * old + (1 - momentum) * new for old, new in zip(expected, student.parameters())]
    for own, value in zip(teacher.network.parameters(), expected, strict=True):
        assert torch.allclose(own, value, rtol=1e-12)


def test_the_teacher_starts_equal_and_takes_no_gradient():
    model = Distilled(nn.Linear(3, 2), momentum=0.5)
    x = torch.randn(4, 3)
    assert model.teacher.network(x).equal(model.student(x))
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["student.weight", "student.bias"]


def test_updating_the_teacher_leaves_the_student_alone():
    model = Distilled(nn.Linear(3, 2), momentum=0.5)
    before = model.student.weight.detach().clone()
    with torch.no_grad():
        model.teacher.network.weight.zero_()
    model.teacher.update(model.student)
    assert model.student.weight.equal(before)
    assert torch.allclose(model.teacher.network.weight, before / 2)
