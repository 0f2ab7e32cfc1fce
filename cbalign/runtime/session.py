"""A bundle, opened: keeps `cbalign.encoders.Encoder` with numpy in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cbalign.data.image import Preprocessing
from cbalign.data.text import Tokenizer, Tokens
from cbalign.encoders import CodeAssignment, FloatArray, ImageFeatures, IntArray, PixelArray, TextFeatures
from cbalign.errors import BundleError, DataError, UsageError
from cbalign.runtime.bundle import PREPROCESSING, Bundle
from cbalign.runtime.placement import Device, Placement, check_placement, find_device, quiet
from cbalign.runtime.signatures import SIGNATURES

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
    ) -> None:
        self.bundle = bundle
        self.precision = precision
        self.tokenizer = tokenizer
        self.preprocessing = preprocessing
        self.device = device
        self.placement = placement
        self._graphs = graphs

    @classmethod
    def open(
        cls, bundle: str | Path, device: str = "auto", precision: str | None = None, *, threads: int | None = None
    ) -> Session:
        """Verify a bundle's files and load its graphs.

        Args:
            bundle: folder of the bundle.
            device: `auto` (a GPU if there is one that works), `cpu`, `cuda`, `cuda:N` or `tensorrt`.
            precision: which graphs to run; the first that the bundle lists when left out.
            threads: of onnxruntime within one graph on the CPU; None lets it choose.

        Raises:
            BundleError: a file is missing or damaged, or onnxruntime cannot load a graph.
            DeviceError: the device that was asked for is not there, or would not do the work.
        """
        quiet()
        opened = Bundle.open(bundle)
        precision = precision or opened.manifest.precisions[0]
        found = find_device(device, precision)
        for graph in ("image", "text"):
            opened.graph_path(precision, graph)
        opened.verify(opened.names_of(precision))
        try:
            tokenizer = Tokenizer.load(opened.folder)
        except DataError as error:
            raise BundleError(error.message, remedy=error.remedy) from error
        path = opened.folder / PREPROCESSING
        preprocessing = Preprocessing.from_json(path.read_text(encoding="utf-8"), name=str(path))
        graphs, placement = {}, []
        for graph in opened.manifest.graphs:
            graphs[graph] = _load(opened.graph_path(precision, graph), found, threads)
            _check_signature(graph, graphs[graph], opened.graph_path(precision, graph))
            placement.append(Placement.of(graph, graphs[graph]))
            if found.kind != "cpu":
                check_placement(placement[-1], graphs[graph].get_providers(), found)
        return cls(opened, precision, graphs, tokenizer, preprocessing, found, tuple(placement))

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

    def encode_images(self, pixels: PixelArray) -> ImageFeatures:
        """Encode prepared images (B, H, W, 3), uint8 RGB; `cbalign.runtime.images` makes them from files.

        Raises:
            UsageError: the array has another shape or type.
        """
        size = self.image_size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3):
            raise UsageError(
                f"images must be uint8 of shape (B, {size}, {size}, 3), not {pixels.dtype} of {pixels.shape}",
                remedy="Prepare them with cbalign.runtime.images.load_pixels.",
            )
        tokens, embedding = self.run("image", pixels)
        return ImageFeatures(tokens, embedding)

    def encode_texts(self, texts: Sequence[str]) -> TextFeatures:
        """Tokenize and encode raw texts, padded to the longest of them."""
        return self.encode_tokens(self.tokenizer.encode(texts))

    def encode_tokens(self, tokens: Tokens) -> TextFeatures:
        """Encode texts that are already tokenized."""
        features, embedding = self.run("text", tokens.input_ids, tokens.attention_mask)
        return TextFeatures(features, tokens.attention_mask, embedding)

    def match(self, images: ImageFeatures, texts: TextFeatures, image_index: IntArray) -> FloatArray:
        """Match scores (T,) of text t with image `image_index[t]`."""
        (scores,) = self.run("match", images.tokens, texts.tokens, texts.attention_mask, image_index)
        return scores

    def assign(self, embedding: FloatArray) -> CodeAssignment:
        """Assign unit vectors (B, d) to the codebook."""
        probabilities, code, prototype = self.run("codebook", embedding)
        return CodeAssignment(probabilities, code, prototype)

    # The outputs of a graph have several dtypes; the signature of the graph says which.
    def run(self, graph: str, *inputs: NDArray[np.generic]) -> list[NDArray]:  # type: ignore[type-arg]
        """Run one graph on inputs in the order of its signature.

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
        try:
            outputs: list[NDArray] = self._graphs[graph].run(signature.output_names, feed)  # type: ignore[type-arg]
        except Exception as error:  # onnxruntime's exceptions share no base class
            shapes = ", ".join(f"{name} {value.dtype} {value.shape}" for name, value in feed.items())
            raise BundleError(
                f"onnxruntime {onnxruntime.__version__} cannot run the {graph} graph on {shapes} ({_reason(error)})",
                remedy="Check the inputs, or export with another `export.opset`.",
            ) from error
        return outputs


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def _load(path: Path, device: Device, threads: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=device.providers())
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise BundleError(
            f"{path}: onnxruntime {onnxruntime.__version__} cannot load it ({_reason(error)})",
            remedy="Update onnxruntime, or export with a lower `export.opset`.",
        ) from error


def _check_signature(graph: str, session: onnxruntime.InferenceSession, path: Path) -> None:
    signature = SIGNATURES[graph]
    expected = [(port.name, _ELEMENT[port.dtype]) for port in (*signature.inputs, *signature.outputs)]
    found = [(port.name, port.type) for port in (*session.get_inputs(), *session.get_outputs())]
    if found != expected:
        raise BundleError(
            f"{path} is no {graph} graph: it has {found} instead of {expected}",
            remedy="Do not rename or replace the files of a bundle.",
        )
