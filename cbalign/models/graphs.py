"""The graphs of a trained model, used by evaluation and export."""

from __future__ import annotations

from torch import Tensor, nn

from cbalign.models.aligned import Aligned
from cbalign.models.bert import FusionEncoder
from cbalign.models.codebook import Codebook
from cbalign.models.towers import Towers


def channels_first(pixels: Tensor) -> Tensor:
    """Pixels (B, H, W, 3) to (B, 3, H, W); features of a frozen tower, (B, N, D) or (B, D), stay as they are."""
    return pixels.permute(0, 3, 1, 2) if pixels.ndim == 4 else pixels


class ImageGraph(nn.Module):
    """Pixels to image tokens and joint embedding."""

    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (B, H, W, 3), uint8 RGB, to tokens (B, N, D) and unit embeddings (B, d)."""
        tokens = self.towers.vision(channels_first(pixels))
        return tokens, self.towers.embed_images(tokens)


class TextGraph(nn.Module):
    """Token ids to text tokens and joint embedding."""

    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and mask (B, L), int64, to tokens (B, L, D) and unit embeddings (B, d)."""
        tokens = self.towers.text(input_ids, attention_mask)
        return tokens, self.towers.embed_texts(tokens, attention_mask)


class CodebookGraph(nn.Module):
    """Joint embeddings to codebook assignments."""

    def __init__(self, codebook: Codebook) -> None:
        super().__init__()
        self.codebook = codebook

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit vectors (B, d) to probabilities (B, K), nearest code (B,) and its prototype (B, d)."""
        logits = self.codebook.logits(embedding)
        code = logits.argmax(dim=1)
        return logits.softmax(dim=1), code, self.codebook.prototypes[code]


class MatchGraph(nn.Module):
    """Image tokens and text tokens to match scores; each image is read once, however many texts name it."""

    def __init__(self, fusion: FusionEncoder, head: nn.Module) -> None:
        super().__init__()
        self.fusion = fusion
        self.head = head

    def forward(self, image_tokens: Tensor, text_tokens: Tensor, attention_mask: Tensor, image_index: Tensor) -> Tensor:
        """Scores (T,) of texts (T, L, D) with images `image_index` (T,) of tokens (I, N, D)."""
        # Layer by layer, because the selected keys and values of all layers would dominate memory.
        images = (layer.select(image_index) for layer in self.fusion.read_layers(image_tokens))
        fused = self.fusion(text_tokens, attention_mask, images)
        return self.head(fused[:, 0])[:, 1]


def graph_modules(model: Aligned) -> dict[str, nn.Module]:
    """Return the graphs of a model by name; they share its modules and follow its mode.

    `codebook` and `match` exist where an objective provides what they compute with.
    """
    student = model.student
    graphs: dict[str, nn.Module] = {"image": ImageGraph(student), "text": TextGraph(student)}
    if (codebook := model.capability("codebook")) is not None:
        assert isinstance(codebook, Codebook)
        graphs["codebook"] = CodebookGraph(codebook)
    if (head := model.capability("matching")) is not None:
        assert student.fusion is not None
        graphs["match"] = MatchGraph(student.fusion, head)
    return graphs
