"""The operations of the server, without HTTP: items of all requests share one queue per graph."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cbalign.apps.search.find import SearchHit, find_nearest
from cbalign.apps.search.index import SearchIndex
from cbalign.apps.search.sheet import thumbnail
from cbalign.apps.serving.batching import Batcher, BatchLimits
from cbalign.apps.serving.budget import Budget
from cbalign.apps.serving.metrics import Metrics
from cbalign.apps.serving.pictures import ImageArray, file_cost, file_pixels
from cbalign.apps.serving.workers import Workers
from cbalign.data.arrays import FloatArray, IntArray, PixelArray
from cbalign.data.text import Tokens
from cbalign.encoders import ImageFeatures, TextFeatures
from cbalign.errors import DataError, DivergenceError, UsageError
from cbalign.runtime.images import decoding_pixels_untrusted, load_pixels
from cbalign.runtime.session import Session
from cbalign.runtime.texts import check_text

_DECODERS = 4

Made = TypeVar("Made")


@dataclass(frozen=True)
class PixelLimits:
    """Images of at most `image` pixels are decoded, and at most `together` pixels at a time; others wait.

    Decoding takes at most `cbalign.data.image.BYTES_PER_PIXEL` bytes per pixel.
    """

    image: int = 25_000_000
    together: int = 32_000_000


@dataclass(frozen=True)
class EncodedImage:
    """One image: `tokens` (N, D), `embedding` (d,), and its code if the bundle has a codebook."""

    tokens: FloatArray
    embedding: FloatArray
    code: int | None


@dataclass(frozen=True)
class EncodedText:
    """One text: `tokens` (L, D), `mask` (L,), `embedding` (d,), its code, and a note if it was truncated."""

    tokens: FloatArray
    mask: IntArray
    embedding: FloatArray
    code: int | None
    note: str | None


class Service:
    """A session with request queues. Use it as an async context manager.

    Args:
        session: the opened bundle.
        index: index of the folder to search, if any.
        batches: limits of each graph's queue.
        pixels: limits of images.
        metrics: counts every run.
    """

    def __init__(
        self, session: Session, index: SearchIndex | None, batches: BatchLimits, pixels: PixelLimits, metrics: Metrics
    ) -> None:
        self.session = session
        self.index = index
        self.metrics = metrics
        self._max_pixels = pixels.image
        self._pixels = Budget(pixels.together)
        self._shown = {path for paths in index.contents.paths.values() for path in paths} if index else set()
        self._images: Batcher[PixelArray, EncodedImage] = Batcher(
            self._run_images, batches, metrics.batches_of("image")
        )
        self._texts: Batcher[tuple[str, str | None], EncodedText] = Batcher(
            self._run_texts, batches, metrics.batches_of("text")
        )
        self._pairs: Batcher[tuple[EncodedImage, EncodedText], float] = Batcher(
            self._run_pairs, batches, metrics.batches_of("match")
        )

    async def __aenter__(self) -> Service:
        self._decoders = Workers(_DECODERS, "cbalign-decode")
        self._open = AsyncExitStack()
        for batcher in (self._images, self._texts, self._pairs):
            await self._open.enter_async_context(batcher)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()
        await asyncio.to_thread(self._decoders.close)

    async def encode_files(self, files: Sequence[bytes]) -> list[EncodedImage]:
        """Encode the bytes of image files.

        Raises:
            DataError: a file is not an image, is damaged, or is too large.
            Busy: the queue is full.
        """
        names = [f"image {number}" if len(files) > 1 else "image" for number in range(1, len(files) + 1)]
        with self._images.room_for(len(files)):
            pixels = await _all(self._file_pixels(data, name) for data, name in zip(files, names))
        return await self._images.submit(pixels)

    async def encode_array(self, data: bytes, most: int) -> list[EncodedImage]:
        """Encode the images of a NumPy file, at most `most`.

        Raises:
            DataError: the data are not an array of images, or contain too many.
            Busy: the queue is full.
        """
        array = await self._in_thread(partial(ImageArray.read, data, self._max_pixels, most))
        how = self.session.preprocessing
        with self._images.room_for(len(array.images)):
            pixels = await self._decode(self._affordable(array.cost(how), "array"), partial(array.pixels, how))
        return await self._images.submit(pixels)

    async def encode_texts(self, texts: Sequence[str]) -> list[EncodedText]:
        """Encode texts.

        Raises:
            UsageError: a text has no words or is far too long.
            Busy: the queue is full.
        """
        notes = [check_text(text, self.session.tokenizer) for text in texts]
        return await self._texts.submit(list(zip(texts, notes)))

    async def match(self, images: Sequence[EncodedImage], texts: Sequence[EncodedText]) -> FloatArray:
        """Score all images with all texts: (I, T).

        Raises:
            UsageError: the bundle has no matcher.
            Busy: the queue is full.
        """
        if not self.session.has_matcher:
            raise UsageError("this bundle has no match graph")
        scores = await self._pairs.submit([(image, text) for image in images for text in texts])
        return np.array(scores, np.float32).reshape(len(images), len(texts))

    async def search(self, query: EncodedImage | EncodedText, top: int, reranked: int) -> list[SearchHit]:
        """Find the images nearest to a query; for a text, rerank the first ones with the matcher.

        Raises:
            UsageError: the server has no folder to search.
            Busy: the queue is full.
        """
        if self.index is None:
            raise UsageError("this server has no images to search", remedy="Start it with --images FOLDER.")
        found = await asyncio.to_thread(find_nearest, self.index, query.embedding, max(top, reranked))
        if isinstance(query, EncodedText) and reranked and self.session.has_matcher:
            found = await self._rerank(self.index.folder, found, query, reranked)
        return found[:top]

    async def thumbnail(self, path: str) -> bytes:
        """Return a JPEG thumbnail of an indexed image.

        Raises:
            DataError: the image is not indexed, or was removed.
        """
        if self.index is None or path not in self._shown:
            raise DataError("no such image")
        return await self._decode_indexed(self.index.folder / path, thumbnail)

    async def _rerank(self, folder: Path, hits: list[SearchHit], text: EncodedText, count: int) -> list[SearchHit]:
        with self._images.room_for(min(count, len(hits))):
            loaded = await _all(self._indexed_pixels(folder / hit.path) for hit in hits[:count])
        readable = [(hit, pixels) for hit, pixels in zip(hits, loaded) if pixels is not None]
        images = await self._images.submit([pixels for _, pixels in readable])
        scores = (await self.match(images, [text]))[:, 0].tolist() if images else []
        scored = [replace(hit, match=score) for (hit, _), score in zip(readable, scores)]
        return sorted(scored, key=lambda hit: -(hit.match or 0.0)) + hits[count:]

    async def _indexed_pixels(self, path: Path) -> PixelArray | None:
        try:
            return await self._decode_indexed(path, lambda path: load_pixels([path], self.session.preprocessing)[0])
        except DataError:  # removed or damaged after indexing
            return None

    async def _file_pixels(self, data: bytes, name: str) -> PixelArray:
        how, limit = self.session.preprocessing, self._max_pixels
        cost = await self._in_thread(partial(file_cost, data, how, limit, name))
        return await self._decode(self._affordable(cost, name), partial(file_pixels, data, how, limit, name))

    def _affordable(self, cost: int, name: str) -> int:
        if cost > self._pixels.total:
            raise DataError(
                f"{name}: decoding takes as much memory as {cost / 1e6:,.1f} megapixels; "
                f"{self._pixels.total / 1e6:,.1f} are allowed",
                remedy="Scale the image down; a very long side takes much.",
            )
        return cost

    async def _decode_indexed(self, path: Path, job: Callable[[Path], Made]) -> Made:
        """Decode an image of the searched folder; one that exceeds the budget is decoded while no other is."""
        how = self.session.preprocessing
        cost = await self._in_thread(partial(decoding_pixels_untrusted, path, how, name=path.name))
        return await self._decode(min(cost, self._pixels.total), partial(job, path))

    async def _decode(self, cost: int, job: Callable[[], Made]) -> Made:
        """Run a function that needs memory for `cost` pixels, as soon as the budget has them.

        The budget gets them back when the function has ended, even if the request was given up before.
        """
        await self._pixels.take(cost)
        loop = asyncio.get_running_loop()
        running = self._decoders.submit(job)
        running.add_done_callback(lambda _: loop.call_soon_threadsafe(self._pixels.give, cost))
        return await asyncio.wrap_future(running)

    async def _in_thread(self, job: Callable[[], Made]) -> Made:
        return await asyncio.wrap_future(self._decoders.submit(job))

    def _run_images(self, pixels: list[PixelArray]) -> list[EncodedImage]:
        features = self.session.encode_images(np.stack(pixels))
        codes = self._codes(features.embedding)
        return [EncodedImage(*parts) for parts in zip(features.tokens, features.embedding, codes)]

    def _run_texts(self, texts: list[tuple[str, str | None]]) -> list[EncodedText]:
        tokens: Tokens = self.session.tokenizer.encode([text for text, _ in texts])
        features = self.session.encode_tokens(tokens)
        codes = self._codes(features.embedding)
        notes = [note for _, note in texts]
        rows = zip(features.tokens, features.attention_mask, features.embedding, codes, notes)
        return [EncodedText(*parts) for parts in rows]

    def _run_pairs(self, pairs: list[tuple[EncodedImage, EncodedText]]) -> list[float]:
        images = {id(image): image for image, _ in pairs}
        position = {key: number for number, key in enumerate(images)}
        length = max(len(text.mask) for _, text in pairs)
        texts = TextFeatures(
            np.stack([np.pad(text.tokens, ((0, length - len(text.mask)), (0, 0))) for _, text in pairs]),
            np.stack([np.pad(text.mask, (0, length - len(text.mask))) for _, text in pairs]),
            np.stack([text.embedding for _, text in pairs]),
        )
        features = ImageFeatures(
            np.stack([image.tokens for image in images.values()]),
            np.stack([image.embedding for image in images.values()]),
        )
        index = np.array([position[id(image)] for image, _ in pairs])
        return _finite(self.session.match(features, texts, index)).tolist()

    def _codes(self, embedding: FloatArray) -> list[int | None]:
        _finite(embedding)
        return self.session.assign(embedding).code.tolist() if self.session.has_codebook else [None] * len(embedding)


async def _all(jobs: Iterable[Coroutine[Any, Any, Made]]) -> list[Made]:
    """Run coroutines concurrently; when one fails, cancel the others, which would keep their data in memory."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _finite(values: FloatArray) -> FloatArray:
    if not np.isfinite(values).all():
        raise DivergenceError(
            "the model's output is NaN or infinite", remedy="Serve a different precision of the bundle."
        )
    return values
