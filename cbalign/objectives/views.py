"""Lazy forward passes over a batch: each network runs once, when its output is first requested."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

from cbalign.models.bert_layers import KeyValues
from cbalign.models.tower import VisionTower
from cbalign.models.towers import Towers

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class TextRequest:
    """Texts to encode, by the student or by the teacher; each request is a result of its own."""

    input_ids: Tensor  # (B, L)
    attention_mask: Tensor  # (B, L)
    teacher: bool = False
    features: Tensor | None = None  # (B, L, D) or pooled (B, D): of a frozen text tower, computed before


@dataclass(frozen=True, eq=False)
class FusionRequest:
    """Texts to fuse with images of the batch, by the towers that encode the text.

    Text i meets image i, unless rows are given: `texts` (B,) selects rows of the text, `images` (T,) the image that
    each text meets. Requests without `images` share one pass, in which no image is copied.
    """

    text: TextRequest
    texts: Tensor | None = None
    images: Tensor | None = None

    @property
    def teacher(self) -> bool:
        """Whether the teacher fuses them."""
        return self.text.teacher


@dataclass(frozen=True)
class Mode:
    """Autocast and gradient mode, restored for networks that run later than they were asked about."""

    device: str
    dtype: torch.dtype
    autocast: bool
    gradients: bool

    @classmethod
    def now(cls, device: torch.device) -> Mode:
        """The mode that holds at this moment."""
        kind = device.type
        return cls(
            kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind), gradients=torch.is_grad_enabled()
        )

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Restore the mode inside the context."""
        with (
            torch.set_grad_enabled(self.gradients),
            torch.autocast(self.device, dtype=self.dtype, enabled=self.autocast),
        ):
            yield


class computed(cached_property[T]):
    """A property of an object with a `mode`, computed once and in that mode."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        @wraps(compute)
        def in_mode(owner: Any) -> T:
            with owner.mode():
                return compute(owner)

        super().__init__(in_mode)


class View:
    """A batch as the student or the teacher reads it.

    Texts that were announced by `expect` are encoded in one pass, together with the first that is asked for; announced
    fusions run in two passes. What was not announced runs when it is asked for. Captions come first in each pass.

    Args:
        towers: the networks.
        images: (B / n, 3, H, W) uint8, n being the number of captions of each.
        captions: the texts of the batch.
        mode: autocast and gradient mode to run in.
        student: the view of the student, whose frozen towers this one shares: what they give is computed once.
    """

    def __init__(
        self, towers: Towers, images: Tensor, captions: TextRequest, mode: Mode, student: View | None = None
    ) -> None:
        self.towers = towers
        self._same_images = student if student and _is_shared(student, towers.vision, images) else None
        self._same_texts = student if student and student.towers.text is towers.text else None
        self.captions = captions
        self.mode = mode
        self.images = images
        self._texts: dict[TextRequest, Tensor | None] = {}  # None: announced
        if captions.features is not None:
            self._texts[captions] = captions.features.float()
        self._fusions: dict[FusionRequest, Tensor | None] = {}

    @computed
    def image_tokens(self) -> Tensor:
        """(B, N, D_image), one for each caption: an image with several is encoded once."""
        if self._same_images is not None:
            return self._same_images.image_tokens.detach()
        tokens = self.towers.vision(self.images)
        captions_per_image = len(self.captions.input_ids) // len(self.images)
        return tokens if captions_per_image == 1 else tokens.repeat_interleave(captions_per_image, dim=0)

    @computed
    def image_embedding(self) -> Tensor:
        """(B, d), unit length."""
        return self.towers.embed_images(self.image_tokens)

    @property
    def text_tokens(self) -> Tensor:
        """(B, L, D) of the captions."""
        return self.encoded(self.captions)

    @computed
    def text_embedding(self) -> Tensor:
        """(B, d) of the captions, unit length."""
        return self.towers.embed_texts(self.text_tokens, self.captions.attention_mask)

    def expect(self, request: TextRequest | FusionRequest) -> None:
        """Register a request in advance."""
        if isinstance(request, TextRequest):
            if self._same_texts is None:
                self._texts.setdefault(request, None)
            else:
                self._same_texts.expect(self._same_texts.like(request))
        else:
            self._fusions.setdefault(request, None)

    def like(self, request: TextRequest) -> TextRequest:
        """Return the request of this view for the same tensors, or `request` itself."""
        same = (
            known
            for known in (self.captions, *self._texts)
            if known.input_ids is request.input_ids and known.attention_mask is request.attention_mask
        )
        return next(same, request)

    def encoded(self, request: TextRequest) -> Tensor:
        """Tokens (B, L, D) of a text."""
        if self._same_texts is not None:
            return self._same_texts.encoded(self._same_texts.like(request)).detach()
        found = self._texts.get(request)
        if found is None:
            with self.mode():
                self._texts |= self._encode(request)
            found = self._texts[request]
            assert found is not None
        return found

    def fused(self, request: FusionRequest) -> Tensor:
        """Fused tokens (T, L, D) of texts with images."""
        found = self._fusions.get(request)
        if found is None:
            with self.mode():
                self._fusions |= self._fuse(request)
            found = self._fusions[request]
            assert found is not None
        return found

    def _encode(self, request: TextRequest) -> dict[TextRequest, Tensor]:
        """Encode a text with all that are announced and as long, in one pass: embedding gradients are made once."""
        length = request.input_ids.shape[1]
        waiting = [r for r in _waiting(self._texts, request) if r.input_ids.shape[1] == length]
        together = sorted(waiting, key=lambda r: r is not self.captions)
        tokens = self.towers.text(_joined(r.input_ids for r in together), _joined(r.attention_mask for r in together))
        return dict(zip(together, torch.split(tokens, [len(r.input_ids) for r in together])))

    def _fuse(self, request: FusionRequest) -> dict[FusionRequest, Tensor]:
        """Fuse all that is announced: a pass for texts that meet the images in order, a pass for all others."""
        if self.towers.fusion is None:
            raise RuntimeError("An objective requests fused tokens, but its section does not set `fuses = True`.")
        waiting = sorted(_waiting(self._fusions, request), key=lambda r: r.text is not self.captions)
        in_order = [r for r in waiting if r.images is None]
        images = self.towers.fusion.read_images(self.image_tokens)
        fused = self._fused(in_order, images, len(in_order))
        elsewhere = [(r, r.images) for r in waiting if r.images is not None]
        if elsewhere:
            rows = _joined(index for _, index in elsewhere)
            fused |= self._fused([r for r, _ in elsewhere], tuple(layer.select(rows) for layer in images), 1)
        return fused

    def _fused(
        self, requests: list[FusionRequest], images: tuple[KeyValues, ...], texts_per_image: int
    ) -> dict[FusionRequest, Tensor]:
        if not requests:
            return {}
        assert self.towers.fusion is not None
        texts = [_rows(self.encoded(r.text), r.texts) for r in requests]
        masks = _joined(_rows(r.text.attention_mask, r.texts) for r in requests)
        tokens = self.towers.fusion(_joined(texts), masks, images, texts_per_image=texts_per_image)
        return dict(zip(requests, tokens.split([len(text) for text in texts])))


def _is_shared(student: View, tower: VisionTower, images: Tensor) -> bool:
    return student.towers.vision is tower and student.images is images


def _waiting(requests: dict[T, Tensor | None], wanted: T) -> list[T]:
    """The requests that have no result yet, `wanted` among them."""
    return [r for r in {**requests, wanted: None} if requests.get(r) is None]


def _rows(tensor: Tensor, index: Tensor | None) -> Tensor:
    return tensor if index is None else tensor[index]


def _joined(tensors: Iterable[Tensor]) -> Tensor:
    parts = list(tensors)
    return parts[0] if len(parts) == 1 else torch.cat(parts)
