"""An image tower that is not cbalign's: a section and a module are all that it takes."""

from __future__ import annotations

import copy
import json
from typing import Literal

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from cbalign.data.image import Preprocessing
from cbalign.data.text import VocabularyInfo
from cbalign.errors import SpecError
from cbalign.experiment.experiment import Experiment
from cbalign.lab.plan.captions import CaptionLengths
from cbalign.lab.plan.step import measure_step
from cbalign.lab.plan.training import untrained
from cbalign.models.backbone import build_backbone
from cbalign.models.graphs import ImageGraph
from cbalign.models.initial import start_from
from cbalign.models.tower import TextTower, VisionTower
from cbalign.models.vision import TimmVisionTower
from cbalign.parts import Effect, TextTowerSection, VisionTowerSection, setting
from cbalign.tasks.kit import kit_of

SIZE, WORDS = 32, 120
VOCABULARY = VocabularyInfo(WORDS, cls_id=1, mask_id=2)
HALF = Preprocessing(SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class PatchifySection(VisionTowerSection):
    """Convolutions of stride 4."""

    builds = "tests.models.test_tower_part:Patchify"

    kind: Literal["patchify"] = setting("patchify", effect=Effect.ARCHITECTURE, help="Which kind of image tower.")
    image_size: int = setting(SIZE, effect=Effect.ARCHITECTURE, help="Side of the image.")
    width: int = setting(24, effect=Effect.ARCHITECTURE, help="Width of a token.")


class Patchify(VisionTower):
    """No class token: the pooled vector is the default one, the mean."""

    def __init__(self, section: PatchifySection, initialise: bool) -> None:
        super().__init__(section.width, HALF)
        self.convolution = nn.Conv2d(3, section.width, 4, stride=4)
        self.positions = nn.Parameter(torch.zeros(1, (section.image_size // 4) ** 2, section.width))

    def encode(self, normalised: Tensor) -> Tensor:
        return self.convolution(normalised).flatten(2).transpose(1, 2) + self.positions

    def adapt(self, name: str, given: Tensor, own: Tensor) -> Tensor | None:
        return given.mean(dim=1, keepdim=True).expand_as(own) if name == "positions" else None


class BagSection(TextTowerSection):
    """Words without order."""

    builds = "tests.models.test_tower_part:Bag"

    kind: Literal["bag"] = setting("bag", effect=Effect.ARCHITECTURE, help="Which kind of text tower.")
    max_tokens: int = setting(12, effect=Effect.DATA, help="Longest caption in tokens.")
    max_words: int = setting(12, effect=Effect.DATA, help="Longest caption in words.")


class Bag(TextTower):
    def __init__(self, section: BagSection, vocabulary: int, initialise: bool) -> None:
        super().__init__(20, vocabulary)
        self.words = nn.Embedding(vocabulary, 20)

    @property
    def word_embeddings(self) -> Tensor:
        return self.words.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.words(input_ids)


def experiment(**changes: object) -> Experiment:
    text = {"architecture": "bert-mini", "init": "random", "tokenizer": "captions", "layers": 1, "width": 16}
    model = {
        "vision": {"image_size": SIZE, "init": "random"},
        "text": text | {"heads": 2, "intermediate": 32, "max_tokens": 9},
        "fusion": {"layers": 1},
        "joint_dim": 8,
        "codebook": {"size": 8},
        "queue": {"length": 16},
    }
    data = {"train": {"source": "openmoji", "split": "train"}}
    spec = {"cbalign": 1, "name": "plug-in", "model": model, "data": data, "train": {"batch_size": 4, "device": "cpu"}}
    made = Experiment.model_validate_json(json.dumps(spec))
    return made.model_copy(update={"model": made.model.model_copy(update=changes)})


@pytest.fixture
def toy() -> Experiment:
    torch.manual_seed(0)
    return experiment(vision=PatchifySection())


def pixels(count: int = 3, size: int = SIZE) -> Tensor:
    return torch.randint(256, (count, size, size, 3), dtype=torch.uint8)


def test_a_tower_of_another_distribution_gives_tokens_and_pools_them(toy: Experiment) -> None:
    vision = build_backbone(toy.model, WORDS, initialise=True).vision
    images = pixels().permute(0, 3, 1, 2)
    tokens = vision(images)
    assert tokens.shape == (3, 64, 24)
    expected = vision.convolution((images.float() / 255 - 0.5) / 0.5).flatten(2).mean(dim=2)
    assert torch.allclose(vision.pool(tokens), expected, atol=1e-5)
    assert vision.preprocessing == HALF


def test_its_own_pooled_vector_is_embedded(toy: Experiment) -> None:
    student = kit_of(toy).build_model(toy, VOCABULARY, initialise=True).student
    tokens = student.vision(pixels().permute(0, 3, 1, 2))
    expected = student.image_projection(tokens.mean(dim=1))
    assert torch.allclose(student.embed_images(tokens), expected / expected.norm(dim=1, keepdim=True), atol=1e-5)


@pytest.mark.parametrize("text", [None, BagSection()], ids=["bert", "another text tower"])
def test_a_step_trains_all_of_it(toy: Experiment, text: BagSection | None) -> None:
    spec = experiment(vision=toy.model.vision, text=text) if text else toy
    model = kit_of(spec).build_model(spec, VOCABULARY, initialise=True).train()
    student = model.student
    ids, mask = torch.randint(WORDS, (3, 7)), torch.ones(3, 7, dtype=torch.int64)
    image_tokens, text_tokens = student.vision(pixels().permute(0, 3, 1, 2)), student.text(ids, mask)
    fused = student.fusion(text_tokens, mask, student.fusion.read_images(image_tokens))
    loss = (student.embed_images(image_tokens) * student.embed_texts(text_tokens, mask)).sum()
    head = model.capability("masked_language")
    loss = loss + head(fused[:, 1], student.word_embeddings).logsumexp(dim=1).sum()
    before = copy.deepcopy(student.state_dict())
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    loss.backward()
    optimizer.step()
    for name in ("vision.convolution.weight", "vision.positions", "image_projection.weight"):
        assert not student.state_dict()[name].equal(before[name]), name


def test_a_plan_counts_it(toy: Experiment) -> None:
    with torch.device("meta"):
        model = untrained(toy, WORDS)
    cost = measure_step(toy, model, CaptionLengths.assumed(9), processes=1, accumulates=False)
    convolution = 2 * 4 * 64 * 24 * 3 * 4 * 4  # multiplications and additions of four images
    assert cost.image_tower == convolution


def test_its_graph_is_exported(toy: Experiment, tmp_path) -> None:  # type: ignore[no-untyped-def]
    graph = ImageGraph(kit_of(toy).build_model(toy, VOCABULARY, initialise=True).student).eval()
    inputs = pixels(2)
    file = tmp_path / "image.onnx"
    batch = torch.export.Dim("batch", min=1, max=64)
    torch.onnx.export(graph, (inputs,), file, dynamo=True, dynamic_shapes=({0: batch},), input_names=["pixels"])
    more = pixels(5)
    tokens, embedding = onnxruntime.InferenceSession(file).run(None, {"pixels": more.numpy()})
    with torch.no_grad():
        expected = graph(more)
    np.testing.assert_allclose(tokens, expected[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(embedding, expected[1].numpy(), atol=1e-5)


def test_it_adapts_weights_of_another_image_size(toy: Experiment) -> None:
    trained = kit_of(toy).build_model(toy, VOCABULARY, initialise=True)
    with torch.no_grad():
        trained.student.vision.positions.fill_(2.0)
    spec = experiment(vision=PatchifySection(image_size=48))
    larger = kit_of(spec).build_model(spec, VOCABULARY, initialise=True)
    report = start_from(larger, trained.state_dict(), "a run")
    assert larger.student.vision.positions.equal(torch.full((1, 144, 24), 2.0))
    assert any(line.startswith("student.vision.positions: (1, 64, 24)") for line in report.reshaped)


def test_a_class_token_that_a_trunk_lacks_is_refused() -> None:
    refused = pytest.raises(
        SpecError, match=r"model\.vision\.pooling: cls, but vit_base_patch16_siglip_256 has no class"
    )
    with refused, torch.device("meta"):
        TimmVisionTower("vit_base_patch16_siglip_256", 256, pooling="cls")


def test_registers_are_neither_patches_nor_interpolated() -> None:
    sizes = {"layers": 1, "width": 24, "heads": 2, "patch_size": 8}
    small, large = (TimmVisionTower("vit_small_patch14_reg4_dinov2", side, **sizes).eval() for side in (32, 64))
    assert small.prefix_tokens == 5
    assert small(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).shape == (1, 5 + 16, 24)
    report = large.load_timm(dict(small.transformer.state_dict()), "a file")
    assert report.reshaped == (
        f"transformer.pos_embed: {tuple(small.transformer.pos_embed.shape)} in the weights, "
        f"{tuple(large.transformer.pos_embed.shape)} in the model",
    )
    assert large.transformer.reg_token.equal(small.transformer.reg_token)
