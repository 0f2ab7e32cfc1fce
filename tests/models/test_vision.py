import pytest
import torch
import torch.nn.functional as F

from cbalign.data.image import CLIP_MEAN, CLIP_STD
from cbalign.errors import CheckpointError, SpecError
from cbalign.models.trunk import resize_positions
from cbalign.models.vision import TimmVisionTower


def tower(image_size: int = 32, layers: int = 2, stem: str = "patches") -> TimmVisionTower:
    sizes = {"patch_size": 8, "layers": layers, "width": 16, "heads": 2}
    return TimmVisionTower("vit_base_patch16_224", image_size, **sizes, stem=stem).eval()


@pytest.mark.parametrize(("old", "new"), [(4, 8), (16, 24), (14, 16), (6, 3)])
def test_positions_are_interpolated_bicubically_and_cls_is_kept(old, new):
    positions = torch.randn(1, 1 + old * old, 6)
    resized = resize_positions(positions, 1 + new * new)
    grid = positions[:, 1:].reshape(1, old, old, 6).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    assert resized[:, :1].equal(positions[:, :1])
    assert torch.allclose(resized[:, 1:], expected.permute(0, 2, 3, 1).reshape(1, new * new, 6), atol=1e-6)


def test_positions_of_the_same_grid_stay_bit_for_bit():
    positions = torch.randn(1, 17, 6)
    assert resize_positions(positions, 17).equal(positions)


@torch.no_grad()
def test_pixels_are_normalised_inside():
    model = tower()
    pixels = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    mean, std = torch.tensor(CLIP_MEAN).view(1, 3, 1, 1), torch.tensor(CLIP_STD).view(1, 3, 1, 1)
    assert torch.allclose(model(pixels), model.encode((pixels.float() / 255 - mean) / std), atol=1e-5)
    assert model(pixels).shape == (2, 17, 16)


@pytest.mark.parametrize("stem", ["patches", "convolutions"])
@torch.no_grad()
def test_an_images_tokens_do_not_depend_on_the_batch(stem):
    model = tower(stem=stem).train()
    pixels = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    assert torch.allclose(model(pixels)[1:2], model(pixels[1:2]), atol=1e-5)


def test_a_token_of_a_stem_of_convolutions_sees_the_pixels_it_stands_for():
    stem = tower(stem="convolutions").transformer.patch_embed.proj
    images = torch.randn(16, 3, 32, 32, requires_grad=True)
    tokens = stem(images)
    assert tokens.shape == (16, 16, 4, 4)
    tokens[:, :, 2, 0].abs().sum().backward()
    seen = F.avg_pool2d(images.grad.abs().sum(dim=(0, 1))[None], 8)[0]
    # A window of stride 2 begins one pixel before its place, so a token sees some of the patch before, too; and through
    # the norms a little of all the image.
    assert seen[1:3, 0].sum() > seen.sum() / 3
    assert seen[2, 0] == seen[2].max()


def test_weights_of_another_resolution_are_taken_with_interpolated_positions():
    small, large = tower(32), tower(64)
    weights = dict(small.transformer.state_dict())
    large.load_timm(weights | {"head.weight": torch.zeros(5, 16)}, "a file")
    assert large.transformer.pos_embed.shape == (1, 65, 16)
    assert large.transformer.pos_embed.equal(resize_positions(small.transformer.pos_embed, 65))
    assert large.transformer.blocks[1].mlp.fc1.weight.equal(small.transformer.blocks[1].mlp.fc1.weight)


def test_weights_of_another_architecture_are_refused_and_nothing_is_loaded():
    model, before = tower(), {n: t.clone() for n, t in tower().state_dict().items()}
    model.load_state_dict(before)
    with pytest.raises(CheckpointError, match="the file does not fit"):
        model.load_timm(dict(tower(layers=1).transformer.state_dict()), "the file")
    assert all(t.equal(before[n]) for n, t in model.state_dict().items())


@pytest.mark.parametrize("architecture", ["no_such_model", "crossvit_9_240"])
def test_what_gives_neither_tokens_nor_a_map_is_refused(architecture):
    with pytest.raises(SpecError, match=architecture):
        TimmVisionTower(architecture, 240)


def test_positions_with_a_distillation_token_are_refused():
    weights = dict(tower().transformer.state_dict()) | {"pos_embed": torch.zeros(1, 18, 16)}
    with pytest.raises(CheckpointError, match=r"deit\.pth.*\n.*pos_embed: \(1, 18, 16\) in the weights"):
        tower().load_timm(weights, "deit.pth")
