"""A bundle, opened: keeps `cbalign.encoders.Encoder` with numpy in and out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from cbalign.data.image import Preprocessing
from cbalign.data.text import Tokenizer, Tokens
from cbalign.encoders import CodeAssignment, FloatArray, ImageFeatures, IntArray, PixelArray, TextFeatures
from cbalign.errors import BundleError, DataError, UsageError
from cbalign.runtime.bundle import PREPROCESSING, Bundle
from cbalign.runtime.captured import CapturedGraph, can_be_captured
from cbalign.runtime.images import Picture, load_pixels
from cbalign.runtime.placement import CUDA, Device, Placement, Provider, check_placement, find_device, quiet
from cbalign.runtime.ranking import Nearest, nearest
from cbalign.runtime.signatures import SIGNATURES, required

_ELEMENT = {"uint8": "tensor(uint8)", "int64": "tensor(int64)", "float32": "tensor(float)"}


class Session:
    """The graphs of one precision of a bundle, ready to run. Make it with `Session.open`.

    Args:
        bundle: the verified bundle.
        precision: of the graphs.
        graphs: its sessions by graph name.
        tokenizer, preprocessing: the bundle's.
        device: where the graphs run.
        placement: which node runs where, per graph.
        batch_size: items per run; longer inputs are cut into batches of it.
        captured: graphs that run with fixed buffers and CUDA graphs, by name.
    """

    def __init__(
        self,
        bundle: Bundle,
        precision: str,
        graphs: Mapping[str, onnxruntime.InferenceSession],
        tokenizer: Tokenizer,
        preprocessing: Preprocessing,
        device: Device,
        placement: tuple[Placement, ...],
        *,
        batch_size: int = 64,
        captured: Mapping[str, CapturedGraph] | None = None,
    ) -> None:
        self.bundle = bundle
        self.precision = precision
        self.tokenizer = tokenizer
        self.preprocessing = preprocessing
        self.device = device
        self.placement = placement
        self.batch_size = batch_size
        self._graphs = graphs
        self._captured = captured or {}

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
    ) -> Session:
        """Verify a bundle's files and load its graphs.

        Args:
            bundle: folder of the bundle.
            device: `auto` (a GPU if there is one that works), `cpu`, `cuda`, `cuda:N` or `tensorrt`.
            precision: which graphs to run; the first that the bundle lists when left out.
            threads: of onnxruntime within one graph on the CPU; None lets it choose.
            batch_size: items per run; longer inputs are cut into batches of it.
            cuda_graphs: on a GPU, capture what runs for small batches and replay it, where onnxruntime can.

        Raises:
            BundleError: a file is missing or damaged, or onnxruntime cannot load a graph.
            DeviceError: the device that was asked for is not there, or would not do the work.
        """
        quiet()
        opened = Bundle.open(bundle)
        precision = precision or opened.manifest.precisions[0]
        found = find_device(device, precision)
        for graph in required(opened.manifest.graphs):
            opened.graph_path(precision, graph)
        opened.verify(opened.names_of(precision))
        try:
            tokenizer = Tokenizer.load(opened.folder)
        except DataError as error:
            raise BundleError(error.message, remedy=error.remedy) from error
        path = opened.folder / PREPROCESSING
        preprocessing = Preprocessing.from_json(path.read_text(encoding="utf-8"), name=str(path))
        graphs, placement, captured = {}, [], {}
        for graph in opened.manifest.graphs:
            graphs[graph] = _load(opened.graph_path(precision, graph), found, threads, cuda_graphs)
            _check_signature(graph, graphs[graph], opened.graph_path(precision, graph))
            if _captures(graphs[graph]) and can_be_captured(graphs[graph], SIGNATURES[graph]):
                captured[graph] = CapturedGraph(graphs[graph], SIGNATURES[graph], "cuda", found.index)
            placement.append(Placement.of(graph, graphs[graph]))
            if found.kind != "cpu":
                check_placement(placement[-1], graphs[graph].get_providers(), found)
        return cls(
            opened,
            precision,
            graphs,
            tokenizer,
            preprocessing,
            found,
            tuple(placement),
            batch_size=batch_size,
            captured=captured,
        )

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.preprocessing.size

    @property
    def has_codebook(self) -> bool:
        """Whether `assign` works."""
        return "codebook" in self._graphs

    @property
    def has_matcher(self) -> bool:
        """Whether `match` works."""
        return "match" in self._graphs

    def encode_images(self, images: PixelArray | Iterable[Picture]) -> ImageFeatures:
        """Encode pictures: paths, bytes of files, Pillow images and RGB arrays, mixed as they come.

        An array (B, H, W, 3) is taken for prepared pixels, uint8 RGB of side `image_size`, and not resized.

        Raises:
            UsageError: prepared pixels have another shape or type.
            DataError: a picture cannot be decoded.
        """
        parts = [self.run("image", pixels) for pixels in self._pixel_batches(images)]
        tokens, embedding = (np.concatenate(part) for part in zip(*parts))
        return ImageFeatures(tokens, embedding)

    def encode_texts(self, texts: Sequence[str]) -> TextFeatures:
        """Tokenize and encode raw texts, padded to the longest of them."""
        return self.encode_tokens(self._tokens(texts))

    def encode_tokens(self, tokens: Tokens) -> TextFeatures:
        """Encode texts that are already tokenized."""
        ids, mask = tokens.input_ids, tokens.attention_mask
        parts = [self.run("text", ids[batch], mask[batch]) for batch in self._batches(len(ids))]
        features, embedding = (np.concatenate(part) for part in zip(*parts))
        return TextFeatures(features, mask, embedding)

    def embed_images(self, images: PixelArray | Iterable[Picture]) -> FloatArray:
        """Unit vectors (B, d) of pictures as `encode_images` takes them; on a GPU their tokens stay there."""
        batches = self._pixel_batches(images)
        return np.concatenate([self.run("image", pixels, outputs=["embedding"])[0] for pixels in batches])

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors (B, d) of raw texts."""
        tokens = self._tokens(texts)
        ids, mask = tokens.input_ids, tokens.attention_mask
        batches = self._batches(len(ids))
        return np.concatenate([self.run("text", ids[each], mask[each], outputs=["embedding"])[0] for each in batches])

    def match(self, images: ImageFeatures, texts: TextFeatures, image_index: IntArray) -> FloatArray:
        """Match scores (T,) of text t with image `image_index[t]`; each batch reads its own images only."""
        if len(image_index) <= self.batch_size:
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
        """The images nearest to a text, or to an example image.

        Args:
            query: a text; or a `Path`, bytes, Pillow image or array for an example.
            embeddings: (N, d) of the images that are searched; may be a memory map.
            count: how many to find.
        """
        found = self.embed_texts([query]) if isinstance(query, str) else self.embed_images([query])
        return nearest(found[0], embeddings, count)

    def _tokens(self, texts: Sequence[str]) -> Tokens:
        if isinstance(texts, str):
            raise UsageError("texts are many, and this is one", remedy="Put it into a list: [text]")
        return self.tokenizer.encode(texts)

    def _pixel_batches(self, images: PixelArray | Iterable[Picture]) -> Iterator[PixelArray]:
        """Prepared pixels, at most `batch_size` at a time, an empty batch where there are none."""
        if isinstance(images, str | bytes | Path | Image.Image):
            raise UsageError("images are many pictures, and this is one", remedy="Put it into a list: [picture]")
        size = self.image_size
        if isinstance(images, np.ndarray):
            if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
                raise UsageError(
                    f"images must be uint8 of shape (B, {size}, {size}, 3), not {images.dtype} of {images.shape}",
                    remedy="Give a list of arrays (H, W, 3), or prepare them with cbalign.runtime.images.load_pixels.",
                )
            yield from (images[batch] for batch in self._batches(len(images)))
            return
        pictures = iter(images)
        batch = list(islice(pictures, self.batch_size))
        yield load_pixels(batch, size)
        while batch := list(islice(pictures, self.batch_size)):
            yield load_pixels(batch, size)

    def _batches(self, items: int) -> list[slice]:
        return [slice(start, start + self.batch_size) for start in range(0, max(1, items), self.batch_size)]

    # The outputs of a graph have several dtypes; the signature of the graph says which.
    def run(self, graph: str, *inputs: NDArray[np.generic], outputs: Sequence[str] | None = None) -> list[NDArray]:  # type: ignore[type-arg]
        """Run one graph on inputs in the order of its signature; `outputs` names those that are wanted, not all.

        Raises:
            UsageError: the bundle has no such graph.
            BundleError: onnxruntime cannot run it on these inputs.
        """
        if graph not in self._graphs:
            raise UsageError(
                f"the bundle {self.bundle.folder} has no {graph} graph",
                remedy="Train with its objective, and export all graphs.",
            )
        signature = SIGNATURES[graph]
        feed = dict(zip(signature.input_names, inputs, strict=True))
        wanted = tuple(outputs or signature.output_names)
        try:
            if graph in self._captured:
                return self._captured[graph].run(inputs, wanted)
            found: list[NDArray] = self._graphs[graph].run(wanted, feed)  # type: ignore[type-arg]
        except Exception as error:  # onnxruntime's exceptions share no base class
            shapes = ", ".join(f"{name} {value.dtype} {value.shape}" for name, value in feed.items())
            raise BundleError(
                f"onnxruntime {onnxruntime.__version__} cannot run the {graph} graph on {shapes} ({_reason(error)})",
                remedy="Check the inputs, or export with another `export.opset`.",
            ) from error
        return found


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def _load(path: Path, device: Device, threads: int | None, cuda_graphs: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # Each graph has threads of its own; those of one would spin on while another computes.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    if cuda_graphs and device.kind == "cuda":
        # onnxruntime refuses to capture a graph of which a node with real work would run on the CPU.
        with contextlib.suppress(Exception):
            return onnxruntime.InferenceSession(str(path), options, providers=_capturing(device.providers()))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=device.providers())
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise BundleError(
            f"{path}: onnxruntime {onnxruntime.__version__} cannot load it ({_reason(error)})",
            remedy="Update onnxruntime, or export with a lower `export.opset`.",
        ) from error


def _capturing(providers: list[Provider]) -> list[Provider]:
    return [
        (p[0], {**p[1], "enable_cuda_graph": "1"}) if isinstance(p, tuple) and p[0] == CUDA else p for p in providers
    ]


def _captures(session: onnxruntime.InferenceSession) -> bool:
    return str(session.get_provider_options().get(CUDA, {}).get("enable_cuda_graph", "0")) == "1"


def _check_signature(graph: str, session: onnxruntime.InferenceSession, path: Path) -> None:
    signature = SIGNATURES[graph]
    expected = [(port.name, _ELEMENT[port.dtype]) for port in (*signature.inputs, *signature.outputs)]
    found = [(port.name, port.type) for port in (*session.get_inputs(), *session.get_outputs())]
    if found != expected:
        raise BundleError(
            f"{path} is no {graph} graph: it has {found} instead of {expected}",
            remedy="Do not rename or replace the files of a bundle.",
        )
