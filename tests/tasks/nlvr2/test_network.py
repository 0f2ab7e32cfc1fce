import torch
from safetensors.torch import save

from cbalign.models.bert import BertConfig, FusionEncoder, key_mask
from cbalign.tasks.nlvr2.network import PairFusionEncoder

SIZES = BertConfig(vocabulary=30, width=16, layers=3, heads=2, intermediate=20, positions=12)


def pretrained() -> FusionEncoder:
    torch.manual_seed(0)
    fusion = FusionEncoder(SIZES, 3, image_width=12, dropout=0.1).eval()
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return fusion


@torch.no_grad()
def test_doubled_layers_start_as_every_pretrained_layer_applied_to_each_image():
    fusion, pairs = pretrained(), PairFusionEncoder(SIZES, 3, image_width=12, dropout=0.1).eval()
    pairs.start_from(fusion)
    hidden, mask = torch.randn(2, 5, 16), torch.tensor([[1] * 5, [1] * 3 + [0] * 2])
    first, second = torch.randn(2, 2, 9, 12)
    computed = pairs(hidden, mask, pairs.read_images(first), pairs.read_images(second))
    read = zip(fusion.layers, fusion.read_images(first), fusion.read_images(second), strict=True)
    for layer, of_first, of_second in read:
        hidden = layer(layer(hidden, key_mask(mask), of_first), key_mask(mask), of_second)
    assert torch.allclose(computed, hidden, atol=1e-5)


def test_keys_and_values_of_both_images_are_one_weight():
    """It gets the gradient of both, and a checkpoint holds it once."""
    pairs = PairFusionEncoder(SIZES, 2, image_width=12, dropout=0.0)
    assert [n for n in pairs.state_dict() if "cross_attention.key.weight" in n] == [
        "first.0.cross_attention.key.weight",
        "first.1.cross_attention.key.weight",
    ]
    save(pairs.state_dict())  # refuses tensors that share memory
    first, second = torch.randn(2, 1, 9, 12)
    hidden, mask = torch.randn(1, 5, 16), torch.ones(1, 5, dtype=torch.int64)
    weight = pairs.first[0].cross_attention.value.weight
    gradients = []
    for use_first, use_second in ((True, True), (True, False), (False, True)):
        images = [
            pairs.read_images(image) if used else tuple(map(detached, pairs.read_images(image)))
            for image, used in ((first, use_first), (second, use_second))
        ]
        (gradient,) = torch.autograd.grad(pairs(hidden, mask, *images).square().sum(), weight)
        gradients.append(gradient)
    assert torch.allclose(gradients[0], gradients[1] + gradients[2], atol=1e-4)


def detached(read):
    return type(read)(read.keys.detach(), read.values.detach())


@torch.no_grad()
def test_which_image_is_first_matters_once_the_copies_differ():
    pairs = PairFusionEncoder(SIZES, 2, image_width=12, dropout=0.1).eval()
    for parameter in pairs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    hidden, mask = torch.randn(1, 5, 16), torch.ones(1, 5, dtype=torch.int64)
    one, other = (pairs.read_images(image) for image in torch.randn(2, 1, 9, 12))
    assert not torch.allclose(pairs(hidden, mask, one, other), pairs(hidden, mask, other, one), atol=1e-2)
