"""Our layers against Hugging Face's, with weights large enough that attention is far from uniform."""

import pytest
import torch
from transformers import BertConfig as TheirConfig
from transformers import BertForMaskedLM, BertLMHeadModel, BertModel

from cbalign.models import names
from cbalign.models.bert import BertConfig, BertTextTower, FusionEncoder, MaskedLanguageHead
from cbalign.tasks.vqa.network import AnswerDecoder

SIZES = BertConfig(vocabulary=50, width=24, layers=4, heads=3, intermediate=40, positions=20)
THEIRS = {
    "vocab_size": SIZES.vocabulary,
    "hidden_size": SIZES.width,
    "num_hidden_layers": SIZES.layers,
    "num_attention_heads": SIZES.heads,
    "intermediate_size": SIZES.intermediate,
    "max_position_embeddings": SIZES.positions,
    "initializer_range": 0.4,
    "attn_implementation": "eager",
}


@pytest.fixture
def texts() -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of three texts, two of them padded."""
    torch.manual_seed(0)
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] * 2 + [0] * 5])
    return torch.randint(1, 50, (3, 7)) * mask, mask


def test_the_text_tower_is_bert(texts):
    ids, mask = texts
    torch.manual_seed(1)
    theirs = BertModel(TheirConfig(**THEIRS), add_pooling_layer=False).eval()
    weights = names.canonical_bert(theirs.state_dict())
    ours = BertTextTower(SIZES, layers=4, dropout=0.1).eval()
    ours.load_state_dict(names.embeddings_from_bert(weights) | names.layers_from_bert(weights, 0, 4))
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        computed = ours(ids, mask)
    assert torch.allclose(computed[mask.bool()], expected[mask.bool()], atol=1e-5)


def test_the_first_layers_of_a_bert_are_a_text_tower(texts):
    ids, mask = texts
    theirs = BertModel(TheirConfig(**THEIRS), add_pooling_layer=False).eval()
    weights = names.canonical_bert(theirs.state_dict())
    ours = BertTextTower(SIZES, layers=2, dropout=0.1).eval()
    ours.load_state_dict(names.embeddings_from_bert(weights) | names.layers_from_bert(weights, 0, 2))
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[2]
        computed = ours(ids, mask)
    assert torch.allclose(computed[mask.bool()], expected[mask.bool()], atol=1e-5)


def test_the_masked_language_head_is_berts(texts):
    ids, mask = texts
    theirs = BertForMaskedLM(TheirConfig(**THEIRS)).eval()
    weights = names.canonical_bert(theirs.state_dict())
    text, head = BertTextTower(SIZES, 4, 0.1).eval(), MaskedLanguageHead(SIZES).eval()
    text.load_state_dict(names.embeddings_from_bert(weights) | names.layers_from_bert(weights, 0, 4))
    head.load_state_dict(names.head_from_bert(weights))
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask).logits[mask.bool()]
        computed = head(text(ids, mask)[mask.bool()], text.embeddings.words.weight)
    assert torch.allclose(computed, expected, atol=1e-4)


def test_the_answer_decoder_is_berts_decoder_with_cross_attention(texts):
    ids, mask = texts
    torch.manual_seed(2)
    theirs = BertLMHeadModel(TheirConfig(**THEIRS, is_decoder=True, add_cross_attention=True)).eval()
    weights = names.canonical_bert(theirs.state_dict())
    ours = AnswerDecoder(SIZES, layers=4, dropout=0.1).eval()
    named = names.embeddings_from_bert(weights) | names.layers_from_bert(weights, 0, 4)
    ours.load_state_dict(named | {f"head.{n}": t for n, t in names.head_from_bert(weights).items()})
    question, question_mask = torch.randn(3, 5, 24), torch.tensor([[1] * 5, [1] * 3 + [0] * 2, [1] + [0] * 4])
    with torch.no_grad():
        expected = theirs(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=question,
            encoder_attention_mask=question_mask,
            use_cache=False,
        ).logits
        computed = ours(ids, mask, ours.read_questions(question, question_mask))
    assert torch.allclose(computed[mask.bool()], expected[mask.bool()], atol=1e-4)


@pytest.fixture
def fusion() -> FusionEncoder:
    torch.manual_seed(3)
    encoder = FusionEncoder(SIZES, layers=2, image_width=16, dropout=0.1).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return encoder


@torch.no_grad()
def test_tokens_depend_neither_on_padding_nor_on_the_other_texts_of_a_batch(texts, fusion):
    ids, mask = texts
    text = BertTextTower(SIZES, 3, 0.1).eval()
    for parameter in text.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    images = torch.randn(3, 9, 16)
    together = text(ids, mask)
    fused = fusion(together, mask, fusion.read_images(images))
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        alone = text(ids[row : row + 1, :length], mask[row : row + 1, :length])
        assert torch.allclose(together[row, :length], alone[0], atol=1e-5)
        fused_alone = fusion(alone, mask[row : row + 1, :length], fusion.read_images(images[row : row + 1]))
        assert torch.allclose(fused[row, :length], fused_alone[0], atol=1e-4)


@torch.no_grad()
def test_training_without_the_padding_gives_the_same_tokens(texts, fusion):
    """In training only real tokens pass through the matrices; evaluation and export keep static shapes."""
    ids, mask = texts
    text = BertTextTower(SIZES, 3, dropout=0.0)
    without_dropout = FusionEncoder(SIZES, layers=2, image_width=16, dropout=0.0)
    without_dropout.load_state_dict(fusion.state_dict())
    images, outputs = torch.randn(3, 9, 16), []
    for training in (True, False):
        tokens = text.train(training)(ids, mask)
        encoder = without_dropout.train(training)
        read = encoder.read_images(images)
        fused = encoder(tokens.repeat(2, 1, 1), mask.repeat(2, 1), read, texts_per_image=2)
        outputs.append((tokens[mask.bool()], fused[mask.repeat(2, 1).bool()]))
    for packed, padded in zip(*outputs, strict=True):
        assert torch.allclose(packed, padded, atol=1e-5)


@torch.no_grad()
def test_several_texts_of_one_image_read_it_as_if_each_were_alone(texts, fusion):
    """Blocks of texts that share the images' keys and values, against a copy of them for each text."""
    _, mask = texts
    tokens, images = torch.randn(9, 7, 24), torch.randn(3, 5, 16)
    masks, read = mask.repeat(3, 1), fusion.read_images(images)
    shared = fusion(tokens, masks, read, texts_per_image=3)
    copied = fusion(tokens, masks, tuple(layer.select(torch.arange(3).repeat(3)) for layer in read))
    assert torch.allclose(shared, copied, atol=1e-5)


@torch.no_grad()
def test_a_fused_text_depends_on_its_image(texts, fusion):
    _, mask = texts
    tokens, images = torch.randn(3, 7, 24), torch.randn(3, 5, 16)
    own, other = (fusion(tokens, mask, fusion.read_images(i)) for i in (images, images.flip(0)))
    changed = (own - other).abs().amax(dim=(1, 2))
    assert changed[0] > 0.1
    assert changed[1] == 0


def test_old_names_of_layer_norms_are_understood():
    old = {"bert.embeddings.LayerNorm.gamma": torch.ones(3), "bert.embeddings.LayerNorm.beta": torch.zeros(3)}
    assert set(names.embeddings_from_bert(names.canonical_bert(old))) == {
        "embeddings.norm.weight",
        "embeddings.norm.bias",
    }
