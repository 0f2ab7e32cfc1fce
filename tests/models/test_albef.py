"""ALBEF's names become ours; that the numbers follow is checked by tests/reference."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cbalign.models.albef import answering_from_albef, entailment_from_albef, from_albef, image_pairs_from_albef

FOLDER = Path(__file__).parents[1] / "reference" / "albef-tiny"
TEXT_LAYERS = 6


@pytest.fixture(scope="module")
def pretrained() -> dict[str, torch.Tensor]:
    return load_file(FOLDER / "pretrain.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(t.equal(b[n]) for n, t in a.items())


def test_fine_tuned_files_without_bert_in_their_names_are_the_same_model(pretrained):
    renamed = {n.replace(".bert.", "."): t for n, t in pretrained.items()}
    assert same(from_albef(pretrained, TEXT_LAYERS), from_albef(renamed, TEXT_LAYERS))


def test_files_without_teacher_and_queues_give_the_student_alone(pretrained):
    bare = {n: t for n, t in pretrained.items() if "_m." not in n and "queue" not in n}
    named = from_albef(bare, TEXT_LAYERS)
    everything = from_albef(pretrained, TEXT_LAYERS)
    left_out = {n for n in everything if "teacher." in n or n.startswith(("image_queue.", "text_queue."))}
    assert same(named, {n: t for n, t in everything.items() if n not in left_out})


def test_every_weight_of_a_file_is_used(pretrained):
    """All but buffers of constants and the output matrix, which is the word embedding itself."""
    kept = {id(t) for t in from_albef(pretrained, TEXT_LAYERS).values()}
    unused = {n for n, t in pretrained.items() if id(t) not in kept}
    unused -= {
        n for n in unused if n.endswith(("position_ids", "predictions.decoder.weight", "predictions.decoder.bias"))
    }
    assert unused == {"image_queue", "text_queue", "queue_ptr"}  # these are laid out anew


def test_queues_are_turned_and_fine_tuning_brings_its_image_ids(pretrained):
    ids = torch.arange(pretrained["image_queue"].shape[1])
    named = from_albef(pretrained | {"idx_queue": ids[None]}, TEXT_LAYERS)
    assert named["image_queue.features"].equal(pretrained["image_queue"].T)
    assert named["text_queue.pointer"].shape == ()
    assert named["text_queue.image_ids"].equal(ids)


def test_layers_are_split_between_text_tower_and_fusion(pretrained):
    named = from_albef(pretrained, TEXT_LAYERS)
    old = "text_encoder.bert.encoder.layer"
    assert named["student.text.layers.5.feed_forward.expand.bias"].equal(pretrained[f"{old}.5.intermediate.dense.bias"])
    assert named["student.fusion.layers.0.cross_attention.query.bias"].equal(
        pretrained[f"{old}.6.crossattention.self.query.bias"]
    )
    assert not any(".text.layers." in n and "cross_attention" in n for n in named)


@pytest.mark.parametrize(
    ("file", "mapping"),
    [("vqa", answering_from_albef), ("ve", entailment_from_albef), ("nlvr", image_pairs_from_albef)],
)
def test_every_weight_of_a_fine_tuned_file_is_used(file, mapping):
    weights = load_file(FOLDER / f"{file}.safetensors")
    kept = {id(t) for t in mapping(weights, TEXT_LAYERS).values()}
    unused = [n for n, t in weights.items() if id(t) not in kept]
    constants = ("position_ids", "predictions.decoder.weight", "predictions.decoder.bias")
    shared = tuple(
        f".layer.{TEXT_LAYERS + 2 * i}.crossattention.self.{part}.{kind}"
        for i in range(6)
        for part in ("key", "value")
        for kind in ("weight", "bias")
    )
    assert [n for n in unused if not n.endswith(constants + (shared if file == "nlvr" else ()))] == []


def test_of_shared_keys_that_differ_the_later_copy_counts():
    weights = load_file(FOLDER / "nlvr.safetensors")
    first, second = (f"text_encoder.encoder.layer.{i}.crossattention.self.key.bias" for i in (6, 7))
    weights[first] = weights[second] + 1
    named = image_pairs_from_albef(weights, TEXT_LAYERS)
    assert named["student.fusion.first.0.cross_attention.key.bias"].equal(weights[second])
    assert "student.fusion.second.0.cross_attention.key.bias" not in named


def test_what_is_not_albefs_gives_nothing():
    assert from_albef({"backbone.conv1.weight": torch.zeros(3)}, TEXT_LAYERS) == {}
