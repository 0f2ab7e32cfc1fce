"""Read a bundle from disk and verify its files against its manifest.

exports/<name>/
  manifest.json        `BundleManifest`
  spec.yaml            the resolved experiment
  README.md            model card
  parity.json          comparison of the graphs with PyTorch
  preprocessing.json   how images become pixels
  tokenizer.json  text.json
  golden.npz           example inputs and outputs, to verify an installation
  fp32/{image,text,codebook,match}.onnx, and a folder for every other precision

The manifest contains the SHA-256 of every file and of itself, which detects any change of the bundle.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from cbalign.data.text import SETTINGS_FILE, TOKENIZER_FILE
from cbalign.errors import BundleError, UsageError
from cbalign.experiment.load import read_task
from cbalign.parts import TaskSection
from cbalign.runtime.signatures import Signature
from cbalign.runtime.task import task_runtime

FORMAT = 2
KIND = "cbalign bundle"
MANIFEST = "manifest.json"
SPEC = "spec.yaml"
PREPROCESSING = "preprocessing.json"
PARITY = "parity.json"
GOLDEN = "golden.npz"
CARD = "README.md"

_REQUIRED = (SPEC, PREPROCESSING, TOKENIZER_FILE, SETTINGS_FILE)
_EXPORT_AGAIN = "Export it again with `cbalign export`."
_COPY_AGAIN = "Copy the bundle again, or export it again with `cbalign export`."
_BLOCK = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # of a graph or precision, thus also of a file or folder


@dataclass(frozen=True)
class BundleFile:
    """Expected content of a file: its SHA-256 in hexadecimal and its size in bytes."""

    sha256: str
    size: int

    @classmethod
    def of(cls, path: Path) -> BundleFile:
        """Compute the hash and size of a file."""
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return cls(digest.hexdigest(), path.stat().st_size)


@dataclass(frozen=True)
class BundleManifest:
    """The content of a bundle's `manifest.json`."""

    name: str
    created: str  # UTC, ISO 8601
    run: str  # name of the exported run
    step: int | None  # step of the exported checkpoint
    spec_fingerprint: str
    graphs: tuple[str, ...]
    precisions: tuple[str, ...]  # the first is the default
    opset: int
    opset_reason: str
    versions: Mapping[str, str]
    files: Mapping[str, BundleFile]  # by path in the bundle, with `/`; all except the manifest
    # The run, the models it was initialised from, and the data sets each was trained on; None in bundles of earlier
    # versions.
    lineage: tuple[Mapping[str, Any], ...] | None = None
    # Versions of the distributions, other than cbalign, whose parts the run or the export used.
    plugins: Mapping[str, str] = field(default_factory=dict)
    # Inputs and outputs of the graphs; empty in bundles of earlier versions, whose task defines them.
    signatures: Mapping[str, Signature] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the manifest as an indented JSON object that contains its own SHA-256."""
        return sealed({"kind": KIND, "format": FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str, *, name: str) -> BundleManifest:
        """Parse a manifest written by `to_json`.

        Raises:
            BundleError: the text is not a manifest, was changed, has an unsupported format, or lists files outside the
                bundle.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            if values.pop("kind") != KIND:
                raise ValueError("its kind is not a bundle")
            if (found := values.pop("format")) != FORMAT:
                remedy = "Update cbalign." if type(found) is int and found > FORMAT else _EXPORT_AGAIN
                raise BundleError(
                    f"{name}: the bundle has format {found}; this version of cbalign reads format {FORMAT}",
                    remedy=remedy,
                )
            seal = str(values.pop("sha256"))
            if _digest(text.replace(seal, "", 1)) != seal:
                raise BundleError(f"{name} is damaged or was changed: its SHA-256 does not match", remedy=_COPY_AGAIN)
            for key in ("graphs", "precisions"):
                values[key] = tuple(map(str, values[key]))
                if wrong := [name for name in values[key] if not _NAME.fullmatch(name)]:
                    raise ValueError(f"it lists {wrong[0]!r} under {key}")
            if signatures := values.setdefault("signatures", {}):
                values["signatures"] = {graph: Signature.from_json(signatures[graph]) for graph in values["graphs"]}
            if values.get("lineage") is not None:
                values["lineage"] = tuple(map(dict, values["lineage"]))
            if not values["precisions"]:
                raise ValueError("it lists no precision")
            values["files"] = {_inside(path): BundleFile(**file) for path, file in values["files"].items()}
            _check_types(values)
            if lacking := [required for required in _REQUIRED if required not in values["files"]]:
                raise ValueError(f"it does not list {lacking[0]}")
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise BundleError(f"{name}: not a bundle's manifest ({error})", remedy=_COPY_AGAIN) from error


@dataclass(frozen=True)
class BundleFolder:
    """A bundle's folder and its manifest."""

    folder: Path
    manifest: BundleManifest

    @classmethod
    def open(cls, folder: str | Path) -> BundleFolder:
        """Read the manifest of a bundle, and no other file.

        Raises:
            BundleError: the manifest is missing or damaged, or has an unsupported format.
        """
        folder = Path(folder)
        path = folder / MANIFEST
        try:
            text = path.read_bytes().decode("utf-8")  # bytes, since the hash covers line ends
        except FileNotFoundError:
            raise BundleError(
                f"{folder} is not a bundle: it has no {MANIFEST}", remedy="Give a folder written by `cbalign export`."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"{path}: cannot be read ({error})", remedy=_COPY_AGAIN) from error
        return cls(folder, BundleManifest.from_json(text, name=str(path)))

    def graph_path(self, precision: str, graph: str) -> Path:
        """Return the path of a graph.

        Raises:
            UsageError: the bundle lacks the precision.
            BundleError: the bundle lacks the graph.
        """
        if precision not in self.manifest.precisions:
            has = ", ".join(self.manifest.precisions)
            raise UsageError(f"{self.folder} has no {precision} graphs, only {has}", remedy=f"Choose one of {has}.")
        name = f"{precision}/{graph}.onnx"
        if name not in self.manifest.files:
            raise BundleError(f"{self.folder} has no {name}", remedy="Export it with `export.graphs: all` in the spec.")
        return self.folder / name

    @property
    def task(self) -> TaskSection:
        """The task that the model was trained for.

        Only the task is read: parts of plug-ins that trained the model are not needed to run its graphs.

        Raises:
            BundleError: the bundle's spec is damaged.
            SpecError: the task is that of a plug-in that is not installed.
        """
        return read_task(self.folder / SPEC)

    @cached_property
    def signatures(self) -> Mapping[str, Signature]:
        """Inputs and outputs of the bundle's graphs by name.

        Raises:
            BundleError: the bundle was exported by an earlier version, and its spec is damaged or its task has other
                graphs.
            SpecError: the same, and the task is that of a plug-in that is not installed.
        """
        if self.manifest.signatures:
            return self.manifest.signatures
        known = task_runtime(self.task).signatures
        if unknown := [graph for graph in self.manifest.graphs if graph not in known]:
            raise BundleError(
                f"{self.folder} has the graph {unknown[0]}, which task {self.task.kind} does not have",
                remedy=_COPY_AGAIN,
            )
        return {graph: known[graph] for graph in self.manifest.graphs}

    def require_alignment(self) -> BundleFolder:
        """Require that the model embeds images and texts, and return the bundle.

        Raises:
            UsageError: the model answers questions or classifies.
        """
        if "image" not in self.manifest.graphs:
            raise UsageError(
                f"{self.folder} does not embed images and texts: it has the graphs {', '.join(self.manifest.graphs)}",
                remedy="Use a bundle of pretraining or retrieval; evaluate, verify and diff accept all bundles.",
            )
        return self

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Compare files with the manifest.

        Args:
            names: paths in the bundle; defaults to all files of the manifest.

        Raises:
            BundleError: a file is missing or unreadable, or its size or SHA-256 differs.
        """
        for name in self.manifest.files if names is None else names:
            path, expected = self.folder / name, self.manifest.files[name]
            try:
                size = path.stat().st_size
                if size != expected.size:
                    raise BundleError(
                        f"{path} is damaged: {size:,} bytes instead of {expected.size:,}", remedy=_COPY_AGAIN
                    )
                found = BundleFile.of(path)
            except FileNotFoundError:
                raise BundleError(f"{path} is missing; {MANIFEST} lists it", remedy=_COPY_AGAIN) from None
            except OSError as error:
                raise BundleError(f"{path}: cannot be read ({error.strerror})", remedy=_COPY_AGAIN) from error
            if found != expected:
                raise BundleError(
                    f"{path} is damaged or was changed: SHA-256 {found.sha256[:12]}…, "
                    f"{MANIFEST} lists {expected.sha256[:12]}…",
                    remedy=_COPY_AGAIN,
                )

    def unlisted(self) -> list[str]:
        """Return the files in the folder that the manifest does not list; they are not used."""
        present = (path for path in self.folder.rglob("*") if path.is_file())
        names = sorted(path.relative_to(self.folder).as_posix() for path in present)
        return [name for name in names if name != MANIFEST and name not in self.manifest.files]

    def names_of(self, precision: str) -> list[str]:
        """Return the files needed to run one precision: those in its folder and those at the top level."""
        return [name for name in self.manifest.files if "/" not in name or name.startswith(f"{precision}/")]


def is_bundle(path: Path) -> bool:
    """Return whether a folder has the manifest of a bundle, even a damaged one."""
    try:
        values = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and values.get("kind") == KIND


def list_files(folder: Path) -> dict[str, BundleFile]:
    """List all files below `folder` except the manifest, in the form of a manifest."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: BundleFile.of(path) for name, path in names.items() if name != MANIFEST}


def sealed(values: Mapping[str, Any]) -> str:
    """Return a JSON object with its own hash: `sha256` is that of the text with this value empty."""
    text = json.dumps({"sha256": "", **values}, indent=2, ensure_ascii=False) + "\n"
    return text.replace('""', f'"{_digest(text)}"', 1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not name.isprintable():
        raise ValueError(f"{name!r} is outside the bundle")
    return name


def _check_types(values: Mapping[str, Any]) -> None:
    """Check the types of untrusted values.

    Raises:
        ValueError: a value has the wrong type.
    """
    for key in ("name", "created", "run", "spec_fingerprint", "opset_reason"):
        if not isinstance(values[key], str):
            raise ValueError(f"its {key} is not a string")
    if type(values["opset"]) is not int or (values["step"] is not None and type(values["step"]) is not int):
        raise ValueError("its opset or step is not an integer")
    for name, file in values["files"].items():
        if type(file.size) is not int or file.size < 0 or not re.fullmatch("[0-9a-f]{64}", str(file.sha256)):
            raise ValueError(f"it has no size and SHA-256 for {name}")
    for name, version in values.get("plugins", {}).items():
        if not isinstance(name, str) or not isinstance(version, str):
            raise ValueError("its plugins are not versions by distribution")
