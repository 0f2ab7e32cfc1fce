"""Several captions of an image in one step."""

import dataclasses

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from cbalign.data.batch import Drawn, PairCollation
from cbalign.data.items import Pair
from cbalign.data.text import TextSettings, Tokenizer
from cbalign.experiment.experiment import Experiment
from tests.objectives.alignment import BATCH, LATER, batch, experiment, learner, without

TEXTS = tuple(f"caption {name}" for name in "abcde")


class Images:
    """Three images with five captions, two captions and one caption."""

    name = "images"
    counts = (5, 2, 1)

    def __len__(self):
        return 3

    def item(self, index):
        return Pair(f"{index}.png", TEXTS[: self.counts[index]], 10 + index)


def collated(count: int, epoch: int = 0):
    tokenizer = Tokenizer.train(TEXTS, 64, TextSettings(8))
    drawn = Drawn(
        indices=np.array([2, 0, 1]),
        images=np.zeros((3, 1, 3, 4, 4), np.uint8),
        teacher_images=None,
        generator=lambda index: np.random.default_rng([epoch, index]),
    )
    made = PairCollation(Images(), tokenizer, count)._collate([Images().item(i) for i in (2, 0, 1)], drawn)
    names = {tuple(tokenizer.encode([text]).input_ids[0]): text[-1] for text in TEXTS}
    return made, [names[tuple(row)] for row in made.input_ids.tolist()]


def test_captions_of_an_image_are_different_as_far_as_there_are_so_many():
    made, names = collated(3)
    assert len(made) == 9
    assert len(made.images) == 3
    assert made.image_ids.tolist() == [12] * 3 + [10] * 3 + [11] * 3
    assert made.indices.tolist() == [2] * 3 + [0] * 3 + [1] * 3
    assert names[:3] == ["a"] * 3
    assert len(set(names[3:6])) == 3
    assert set(names[6:]) == {"a", "b"}


def test_epochs_draw_other_captions_and_all_occur():
    drawn = {name for epoch in range(20) for name in collated(2, epoch)[1][2:4]}
    assert drawn == set("abcde")


@pytest.mark.parametrize("two_views", [False, True])
def test_an_image_with_several_captions_counts_as_if_it_were_repeated_and_is_encoded_once(two_views):
    spec = experiment(clip={"positives": "image"}, token_transport={"negatives": False}, **without("matching"))
    whole = batch()
    few = dataclasses.replace(
        whole,
        images=whole.images[: BATCH // 2],
        teacher_images=batch(1).images[: BATCH // 2] if two_views else None,
        image_ids=torch.arange(BATCH) // 2,
    )
    repeated = dataclasses.replace(
        few,
        images=few.images.repeat_interleave(2, dim=0),
        teacher_images=few.teacher_images.repeat_interleave(2, dim=0) if two_views else None,
    )
    found, rows = [], []
    for each in (few, repeated):
        learns = learner(spec)
        learns.model.student.vision.register_forward_hook(lambda *given: rows.append(len(given[1][0])))
        torch.manual_seed(3)  # of masked words
        output = learns.step(each, LATER)
        output.loss.backward()
        found.append((output.loss.detach(), learns.model))
    assert rows == [BATCH // 2, BATCH]
    torch.testing.assert_close(found[0][0], found[1][0])
    for ours, theirs in zip(found[0][1].parameters(), found[1][1].parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["clip", "siglip", "local", "contrastive"])
def test_captions_of_an_image_are_not_told_apart(name):
    values = experiment().model_dump(mode="json")
    values["objectives"] = {**without("codebook"), name: {"positives": "pair"}}
    values["data"]["captions_per_image"] = 2
    with pytest.raises(ValidationError, match=rf"set objectives\.{name}\.positives: image"):
        Experiment.model_validate(values, strict=False)


def test_other_tasks_have_one_caption():
    values = experiment().model_dump(mode="json")
    values["task"] = {"kind": "entailment"}
    values["data"] = {"train": {"source": "snli-ve", "files": ["a"]}, "captions_per_image": 2}
    with pytest.raises(ValidationError, match="task entailment does not learn from captions"):
        Experiment.model_validate(values, strict=False)
