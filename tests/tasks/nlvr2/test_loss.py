"""Which of two images a text belongs to, or neither."""

from __future__ import annotations

import pytest
import torch

from cbalign.tasks.nlvr2.loss import FIRST, NEITHER, SECOND, draw_assignments, text_assignment


def drawn(same_image: torch.Tensor, seed: int = 0):  # type: ignore[no-untyped-def]
    torch.manual_seed(seed)
    embeddings = torch.nn.functional.normalize(torch.randn(len(same_image), 8), dim=1)
    return draw_assignments(embeddings, same_image)


def test_labels_say_where_the_own_image_is() -> None:
    images = torch.arange(3000) // 2  # two texts to an image
    same = images[:, None] == images[None, :]
    found = drawn(same)
    own_first, own_second = (same[torch.arange(3000), each] for each in (found.first, found.second))
    assert torch.equal(own_first, found.label == FIRST)
    assert torch.equal(own_second, found.label == SECOND)
    assert found.valid.all()
    neither = found.label == NEITHER
    assert not (same[found.first, found.second] & neither).any(), "two different negatives"
    for label in (FIRST, SECOND, NEITHER):
        assert (found.label == label).float().mean().item() == pytest.approx(1 / 3, abs=0.04)


def test_negatives_resemble_the_own_image() -> None:
    torch.manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(50, 4), dim=1)
    found = draw_assignments(embeddings, torch.eye(50, dtype=torch.bool))
    has_own = found.label != NEITHER
    negative = torch.where(found.label == FIRST, found.second, found.first)[has_own]
    likeness = (embeddings[has_own] * embeddings[negative]).sum(dim=1).mean()
    assert likeness > 0.6


@pytest.mark.parametrize("images", [1, 2])
def test_a_batch_of_one_or_two_images_does_not_fail(images: int) -> None:
    same = (torch.arange(4) % images)[:, None] == (torch.arange(4) % images)[None, :]
    for seed in range(20):
        found = drawn(same, seed)
        assert not (found.label == NEITHER).any(), "there are no two negatives"
        assert found.valid.all() == (images == 2)
    logits = torch.randn(4, 3, requires_grad=True)
    loss = text_assignment(logits, found)
    assert loss.isfinite()
    expected = torch.nn.functional.cross_entropy(logits, found.label) if images == 2 else torch.zeros(())
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
