"""Run a bundle with onnxruntime; a session implements `cbalign.encoders.Encoder` on numpy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cbalign.data.arrays import FloatArray, IntArray, PixelArray
from cbalign.data.image import Preprocessing
from cbalign.data.text import Tokenizer, Tokens
from cbalign.encoders import CodeAssignment, ImageFeatures, TextFeatures
from cbalign.errors import BundleError, DataError, UsageError
from cbalign.runtime.bundle import PREPROCESSING, BundleFolder
from cbalign.runtime.images import Picture, load_pixels
from cbalign.runtime.loaded_graph import LoadedGraph, load_graph
from cbalign.runtime.placement import TENSORRT, Device, GraphPlacement, find_device, quiet
from cbalign.runtime.precisions import find_precision
from cbalign.runtime.ranking import Nearest, nearest
from cbalign.runtime.signatures import Signature
from cbalign.runtime.tensorrt import HALF, EngineOptions, engine_options


class Session:
    """The graphs of one precision of a bundle, ready to run. Created by `Session.open`.

    Args:
        bundle: the verified bundle.
        precision: precision of the graphs.
        graphs: the loaded graphs by name.
        tokenizer, preprocessing: those of the bundle.
        device: device that runs the graphs.
        batch_size: items per run; longer inputs are split into batches.
    """

    def __init__(
        self,
        bundle: BundleFolder,
        precision: str,
        graphs: Mapping[str, LoadedGraph],
        tokenizer: Tokenizer,
        preprocessing: Preprocessing,
        device: Device,
        *,
        batch_size: int = 64,
    ) -> None:
        self.bundle = bundle
        self.precision = precision
        self.tokenizer = tokenizer
        self.preprocessing = preprocessing
        self.device = device
        self.batch_size = batch_size
        self._graphs = graphs

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        device: str = "auto",
        precision: str | None = None,
        *,
        threads: int | None = None,
        batch_size: int = 64,
        cuda_graphs: bool = True,
        engines: EngineOptions | None = None,
    ) -> Session:
        """Verify a bundle's files and load its graphs.

        Args:
            bundle: folder of the bundle.
            device: `auto` (a working GPU, or else the CPU), `cpu`, `cuda`, `cuda:N` or `tensorrt`.
            precision: precision to run; defaults to the first of the bundle.
            threads: onnxruntime threads per graph on the CPU; None lets onnxruntime choose.
            batch_size: items per run; longer inputs are split into batches.
            cuda_graphs: whether to capture and replay CUDA graphs for small batches, if onnxruntime supports it.
            engines: how TensorRT builds and keeps engines, with device `tensorrt`.

        Raises:
            BundleError: a file is missing or damaged, or onnxruntime cannot load a graph.
            DeviceError: the requested device is missing or cannot run the whole model.
            StorageError: the folder for TensorRT's engines cannot be created.
        """
        quiet()
        opened = BundleFolder.open(bundle)
        precision = precision or opened.manifest.precisions[0]
        found = find_device(device, precision)
        for graph in opened.manifest.graphs:
            opened.graph_path(precision, graph)
        opened.verify(opened.names_of(precision))
        opened.verify_external_data(precision)
        try:
            tokenizer = Tokenizer.load(opened.folder)
        except DataError as error:
            raise BundleError(error.message, remedy=error.remedy) from error
        path = opened.folder / PREPROCESSING
        preprocessing = Preprocessing.from_json(path.read_bytes(), name=str(path))
        graphs = {}
        for graph, signature in opened.signatures.items():
            path = opened.graph_path(precision, graph)
            built = {}
            if found.provider == TENSORRT:
                built = _engines(opened, precision, path, signature, engines, batch_size, tokenizer.settings.max_tokens)
            graphs[graph] = load_graph(graph, path, signature, found, threads, cuda_graphs=cuda_graphs, engines=built)
        return cls(opened, precision, graphs, tokenizer, preprocessing, found, batch_size=batch_size)

    @property
    def placement(self) -> tuple[GraphPlacement, ...]:
        """Execution provider of each node, per graph."""
        return tuple(graph.placement for graph in self._graphs.values())

    @property
    def image_size(self) -> int:
        """Side length of the images in pixels."""
        return self.preprocessing.size

    @property
    def has_codebook(self) -> bool:
        """Whether the bundle has a codebook graph, so that `assign` works."""
        return "codebook" in self._graphs

    @property
    def has_matcher(self) -> bool:
        """Whether the bundle has a match graph, so that `match` works."""
        return "match" in self._graphs

    def encode_images(self, images: PixelArray | Iterable[Picture]) -> ImageFeatures:
        """Encode images: any mix of paths, bytes of files, Pillow images and RGB arrays.

        An array (B, H, W, 3) must contain prepared pixels, uint8 RGB of side `image_size`, and is not resized.

        Raises:
            UsageError: prepared pixels have the wrong shape or type.
            DataError: an image cannot be decoded.
        """
        parts = [self.run("image", pixels) for pixels in self._pixel_batches(images)]
        tokens, embedding = (np.concatenate(part) for part in zip(*parts))
        return ImageFeatures(tokens, embedding)

    def encode_texts(self, texts: Sequence[str]) -> TextFeatures:
        """Tokenize and encode raw texts, padded to the longest one."""
        return self.encode_tokens(self._tokens(texts))

    def encode_tokens(self, tokens: Tokens) -> TextFeatures:
        """Encode tokenized texts."""
        ids, mask = tokens.input_ids, tokens.attention_mask
        parts = [self.run("text", ids[batch], mask[batch]) for batch in self._batches(len(ids))]
        features, embedding = (np.concatenate(part) for part in zip(*parts))
        return TextFeatures(features, mask, embedding)

    def embed_images(self, images: PixelArray | Iterable[Picture]) -> FloatArray:
        """Embed images as unit vectors (B, d), without copying their tokens from the GPU (see `encode_images`)."""
        batches = self._pixel_batches(images)
        return np.concatenate([self.run("image", pixels, outputs=["embedding"])[0] for pixels in batches])

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Embed raw texts as unit vectors (B, d)."""
        tokens = self._tokens(texts)
        ids, mask = tokens.input_ids, tokens.attention_mask
        batches = self._batches(len(ids))
        return np.concatenate([self.run("text", ids[each], mask[each], outputs=["embedding"])[0] for each in batches])

    def match(self, images: ImageFeatures, texts: TextFeatures, image_index: IntArray) -> FloatArray:
        """Score text t with image `image_index[t]`: (T,). Each batch reads only its own images."""
        if max(len(image_index), len(images.tokens)) <= self.batch_size:
            return self.run("match", images.tokens, texts.tokens, texts.attention_mask, image_index)[0]
        scores = []
        for batch in self._batches(len(image_index)):
            chosen, index = np.unique(image_index[batch], return_inverse=True)
            pairs = (images.tokens[chosen], texts.tokens[batch], texts.attention_mask[batch], index)
            scores.append(self.run("match", *pairs)[0])
        return np.concatenate(scores)

    def assign(self, embedding: FloatArray) -> CodeAssignment:
        """Assign unit vectors (B, d) to the codebook."""
        parts = [self.run("codebook", embedding[batch]) for batch in self._batches(len(embedding))]
        probabilities, code, prototype = (np.concatenate(part) for part in zip(*parts))
        return CodeAssignment(probabilities, code, prototype)

    def search(self, query: str | Picture, embeddings: FloatArray, count: int = 10) -> Nearest:
        """Find the images nearest to a text or an example image.

        Args:
            query: a text; or a `Path`, bytes, Pillow image or array as an example image.
            embeddings: (N, d) embeddings of the images to search; may be a memory map.
            count: maximum number of images to return.
        """
        found = self.embed_texts([query]) if isinstance(query, str) else self.embed_images([query])
        return nearest(found[0], embeddings, count)

    def _tokens(self, texts: Sequence[str]) -> Tokens:
        if isinstance(texts, str):
            raise UsageError("texts must be a list, not a single text", remedy="Pass [text].")
        return self.tokenizer.encode(texts)

    def _pixel_batches(self, images: PixelArray | Iterable[Picture]) -> Iterator[PixelArray]:
        """Yield prepared pixels, at most `batch_size` at a time; without images, yield one empty batch."""
        if isinstance(images, str | bytes | Path | Image.Image):
            raise UsageError("images must be a list, not a single image", remedy="Pass [image].")
        size = self.image_size
        if isinstance(images, np.ndarray):
            if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
                raise UsageError(
                    f"images must be uint8 of shape (B, {size}, {size}, 3), not {images.dtype} of {images.shape}",
                    remedy="Pass a list of arrays (H, W, 3), or prepare them with cbalign.runtime.images.load_pixels.",
                )
            yield from (images[batch] for batch in self._batches(len(images)))
            return
        pictures = iter(images)
        batch = list(islice(pictures, self.batch_size))
        yield load_pixels(batch, self.preprocessing)
        while batch := list(islice(pictures, self.batch_size)):
            yield load_pixels(batch, self.preprocessing)

    def _batches(self, items: int) -> list[slice]:
        return [slice(start, start + self.batch_size) for start in range(0, max(1, items), self.batch_size)]

    # The outputs of a graph have several dtypes, which its signature lists.
    def run(self, graph: str, *inputs: NDArray[np.generic], outputs: Sequence[str] | None = None) -> list[NDArray]:  # type: ignore[type-arg]
        """Run one graph on inputs in the order of its signature; `outputs` selects outputs by name (default: all).

        Raises:
            UsageError: the bundle lacks the graph.
            BundleError: onnxruntime cannot run the graph on these inputs.
        """
        if graph not in self._graphs:
            raise UsageError(
                f"the bundle {self.bundle.folder} has no {graph} graph",
                remedy="Train with the objective that needs it, and export all graphs.",
            )
        return self._graphs[graph].run(inputs, outputs)


def _engines(
    bundle: BundleFolder,
    precision: str,
    path: Path,
    signature: Signature,
    options: EngineOptions | None,
    batch_size: int,
    longest_text: int,
) -> dict[str, str]:
    files = [bundle.manifest.files[name] for name in bundle.names_of(precision) if "/" in name]
    section = find_precision(precision)
    return engine_options(
        path,
        signature.inputs,
        options or EngineOptions(),
        content="".join(file.sha256 for file in files),
        batch_size=batch_size,
        longest_text=longest_text,
        half=section is not None and section.tensorrt == HALF,
    )
