"""Starting from a trained model: what is taken, reshaped, copied, new and left."""

from __future__ import annotations

import pytest
import torch

from cbalign.errors import CheckpointError
from cbalign.models.bert import BertConfig, BertTextTower, FusionEncoder
from cbalign.models.image_text import ClassificationHead
from cbalign.models.initial import start_from
from cbalign.models.momentum import Distilled
from cbalign.models.vision import TimmVisionTower
from cbalign.tasks.entailment.network import EntailmentNetwork
from cbalign.tasks.nlvr2.kit import FROM_FUSION
from cbalign.tasks.nlvr2.network import ImagePairNetwork, PairFusionEncoder

BERT = BertConfig(vocabulary=50, width=16, layers=2, heads=2, intermediate=32, positions=20, types=2)


def vision(side: int, layers: int = 1) -> TimmVisionTower:
    return TimmVisionTower("vit_tiny_patch16_224", side, patch_size=8, layers=layers, width=12, heads=2, drop_path=0.0)


def entailment(side: int = 16, layers: int = 1, text_layers: int = 1) -> Distilled[EntailmentNetwork]:
    network = EntailmentNetwork(
        vision(side, layers), BertTextTower(BERT, text_layers, 0.0), FusionEncoder(BERT, 1, 12, 0.0)
    )
    return Distilled(network, 0.9)


def statements(side: int = 16) -> Distilled[ImagePairNetwork]:
    fusion = PairFusionEncoder(BERT, 1, 12, 0.0)
    return Distilled(
        ImagePairNetwork(vision(side), BertTextTower(BERT, 1, 0.0), fusion, ClassificationHead(16, 2)), 0.9
    )


@pytest.fixture
def trained() -> dict[str, torch.Tensor]:
    """A model whose teacher has come another way than its student."""
    torch.manual_seed(1)
    model = entailment()
    torch.manual_seed(2)
    model.teacher.network.load_state_dict(entailment().student.state_dict())
    return dict(model.state_dict())


def test_both_copies_of_a_doubled_layer_are_the_old_one(trained: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(3)
    model = statements()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = start_from(model, trained, "there", FROM_FUSION)
    state = model.state_dict()
    for owner in ("student.", "teacher.network."):
        for copy in ("first", "second"):
            for part in ("attention.query.weight", "cross_attention.output.weight", "feed_forward.norm.bias"):
                assert state[f"{owner}fusion.{copy}.0.{part}"].equal(trained[f"{owner}fusion.layers.0.{part}"])
    assert not state["student.text.layers.0.attention.query.weight"].equal(
        state["teacher.network.text.layers.0.attention.query.weight"]
    ), "the old teacher's own values"
    # Three classes there, two here: the last map is new, and the new teacher has what the new student has.
    assert state["student.head.output.weight"].equal(before["student.head.output.weight"])
    assert state["teacher.network.head.output.weight"].equal(before["student.head.output.weight"])
    assert state["student.head.hidden.weight"].equal(trained["student.head.hidden.weight"])
    assert "student.head.output.weight" in report.missing


def test_positions_are_interpolated_to_another_image_size(trained: dict[str, torch.Tensor]) -> None:
    model = entailment(side=32)
    report = start_from(model, trained, "there")
    name = "student.vision.transformer.pos_embed"
    positions = model.state_dict()[name]
    assert positions.shape == (1, 17, 12)
    assert positions[:, :1].equal(trained[name][:, :1]), "[CLS] stays"
    grid = trained[name][:, 1:].reshape(1, 2, 2, 12).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(grid, size=(4, 4), mode="bicubic", align_corners=False)
    assert torch.allclose(positions[:, 1:], expected.permute(0, 2, 3, 1).reshape(1, 16, 12), atol=1e-6)
    assert f"{name}: (1, 5, 12) in the weights, (1, 17, 12) in the model" in report.reshaped


def test_a_file_without_teacher_gives_the_teacher_the_student(trained: dict[str, torch.Tensor]) -> None:
    model = entailment()
    report = start_from(model, {n: t for n, t in trained.items() if n.startswith("student.")}, "there")
    state = model.state_dict()
    assert all(state[f"teacher.network.{n[8:]}"].equal(t) for n, t in state.items() if n.startswith("student."))
    assert len(report.copied) == len(model.teacher.network.state_dict())
    assert not report.missing


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (lambda: entailment(layers=2), "missing      student.vision.transformer.blocks.1."),
        (lambda: entailment(text_layers=2), "missing      student.text.layers.1."),
    ],
    ids=["image tower", "text tower"],
)
def test_towers_of_other_sizes_are_refused_and_nothing_is_loaded(model, told, trained) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(4)
    new = model()
    before = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    with pytest.raises(CheckpointError) as raised:
        start_from(new, trained, "there")
    assert told in raised.value.message
    assert all(tensor.equal(before[name]) for name, tensor in new.state_dict().items())


def test_layers_left_over_are_refused() -> None:
    large = dict(entailment(text_layers=2).state_dict())
    with pytest.raises(CheckpointError, match=r"unexpected   student\.text\.layers\.1"):
        start_from(entailment(), large, "there")
