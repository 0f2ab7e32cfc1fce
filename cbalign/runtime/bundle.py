"""A bundle on disk: its manifest, and the proof that its files are the ones that were exported.

exports/<name>/
  manifest.json        `BundleManifest`
  spec.yaml            the resolved experiment
  README.md            model card
  parity.json          how closely the graphs compute what PyTorch computes
  preprocessing.json   from image files to pixels
  tokenizer.json  text.json
  golden.npz           inputs and outputs to check an installation with
  fp32/{image,text,codebook,match}.onnx, and a folder for every other precision

The manifest holds the SHA-256 of every file and its own, so that no byte of a bundle changes unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from cbalign.data.text import SETTINGS_FILE, TOKENIZER_FILE
from cbalign.errors import BundleError, UsageError
from cbalign.experiment.load import read_task
from cbalign.parts import TaskSection
from cbalign.runtime.signatures import SIGNATURES

FORMAT = 2
KIND = "cbalign bundle"
MANIFEST = "manifest.json"
SPEC = "spec.yaml"
PREPROCESSING = "preprocessing.json"
PARITY = "parity.json"
GOLDEN = "golden.npz"
CARD = "README.md"

_REQUIRED = (SPEC, PREPROCESSING, TOKENIZER_FILE, SETTINGS_FILE)
_ANEW = "Make it anew with `cbalign export`."
_AGAIN = "Copy the bundle again, or make it anew with `cbalign export`."
_BLOCK = 1 << 20
_PRECISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # also a folder of the bundle


@dataclass(frozen=True)
class BundleFile:
    """What a file must be: its SHA-256 in hexadecimal and its size in bytes."""

    sha256: str
    size: int

    @classmethod
    def of(cls, path: Path) -> BundleFile:
        """The file as it is now, read in blocks."""
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
    run: str  # name of the run that it was exported from
    step: int | None  # of the checkpoint
    spec_fingerprint: str
    graphs: tuple[str, ...]
    precisions: tuple[str, ...]  # the first is used unless another is asked for
    opset: int
    opset_reason: str
    versions: Mapping[str, str]
    files: Mapping[str, BundleFile]  # by path in the bundle, with `/`; all but the manifest
    # The run and the models that it started from, with the data sets that each was trained on; None where a bundle of
    # an earlier version does not say.
    lineage: tuple[Mapping[str, Any], ...] | None = None
    # Distributions whose parts the run or the export used, by version; without cbalign itself.
    plugins: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The manifest as an indented JSON object, sealed."""
        return sealed({"kind": KIND, "format": FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str, *, name: str) -> BundleManifest:
        """Read what `to_json` wrote.

        Raises:
            BundleError: not a manifest, a changed one, one of another format, or one that names files outside of the
                bundle.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            if values.pop("kind") != KIND:
                raise ValueError("it is no bundle's")
            if (found := values.pop("format")) != FORMAT:
                remedy = "Update cbalign." if type(found) is int and found > FORMAT else _ANEW
                raise BundleError(
                    f"{name}: format {found} of the bundle, this cbalign reads format {FORMAT}", remedy=remedy
                )
            seal = str(values.pop("sha256"))
            if _digest(text.replace(seal, "", 1)) != seal:
                raise BundleError(f"{name} is damaged or was changed: it does not fit its own SHA-256", remedy=_AGAIN)
            for key, is_known in (("graphs", SIGNATURES.__contains__), ("precisions", _PRECISION.fullmatch)):
                values[key] = tuple(map(str, values[key]))
                if unknown := [name for name in values[key] if not is_known(name)]:
                    raise ValueError(f"it lists {unknown[0]!r} under {key}")
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
            raise BundleError(f"{name}: not a bundle's manifest ({error})", remedy=_AGAIN) from error


@dataclass(frozen=True)
class Bundle:
    """A folder with a manifest."""

    folder: Path
    manifest: BundleManifest

    @classmethod
    def open(cls, folder: str | Path) -> Bundle:
        """Read the manifest; no other file is looked at.

        Raises:
            BundleError: there is none, or it is damaged or of a newer format.
        """
        folder = Path(folder)
        path = folder / MANIFEST
        try:
            text = path.read_bytes().decode("utf-8")  # every byte counts, line ends too
        except FileNotFoundError:
            raise BundleError(
                f"{folder} is not a bundle: it has no {MANIFEST}", remedy="Name a folder that `cbalign export` made."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"{path}: cannot be read ({error})", remedy=_AGAIN) from error
        return cls(folder, BundleManifest.from_json(text, name=str(path)))

    def graph_path(self, precision: str, graph: str) -> Path:
        """Where a graph lies.

        Raises:
            UsageError: the bundle has no such precision.
            BundleError: it has no such graph.
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

    def require_alignment(self) -> Bundle:
        """The bundle itself, where its model embeds images and texts.

        Raises:
            UsageError: it answers questions or classifies instead.
        """
        if "image" not in self.manifest.graphs:
            raise UsageError(
                f"{self.folder} embeds no images and texts: it has the graphs {', '.join(self.manifest.graphs)}",
                remedy="This works on bundles of pretraining and retrieval; evaluate, verify and diff work on all.",
            )
        return self

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Compare files with the manifest.

        Args:
            names: paths in the bundle; all of the manifest's when left out.

        Raises:
            BundleError: a file is missing, unreadable, of another size or of another SHA-256.
        """
        for name in self.manifest.files if names is None else names:
            path, expected = self.folder / name, self.manifest.files[name]
            try:
                size = path.stat().st_size
                if size != expected.size:
                    raise BundleError(f"{path} is damaged: {size:,} bytes instead of {expected.size:,}", remedy=_AGAIN)
                found = BundleFile.of(path)
            except FileNotFoundError:
                raise BundleError(f"{path} is missing; {MANIFEST} lists it", remedy=_AGAIN) from None
            except OSError as error:
                raise BundleError(f"{path}: cannot be read ({error.strerror})", remedy=_AGAIN) from error
            if found != expected:
                raise BundleError(
                    f"{path} is damaged or was changed: SHA-256 {found.sha256[:12]}…, "
                    f"{MANIFEST} says {expected.sha256[:12]}…",
                    remedy=_AGAIN,
                )

    def unlisted(self) -> list[str]:
        """Files in the folder that the manifest does not know; nothing reads them."""
        present = (path for path in self.folder.rglob("*") if path.is_file())
        names = sorted(path.relative_to(self.folder).as_posix() for path in present)
        return [name for name in names if name != MANIFEST and name not in self.manifest.files]

    def names_of(self, precision: str) -> list[str]:
        """The files that running one precision needs: its folder, and everything that is in no folder."""
        return [name for name in self.manifest.files if "/" not in name or name.startswith(f"{precision}/")]


def is_bundle(path: Path) -> bool:
    """Whether a folder's manifest says that it is a bundle, damaged or not."""
    try:
        values = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and values.get("kind") == KIND


def list_files(folder: Path) -> dict[str, BundleFile]:
    """Every file below `folder` but the manifest, as a manifest lists them."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: BundleFile.of(path) for name, path in names.items() if name != MANIFEST}


def sealed(values: Mapping[str, Any]) -> str:
    """A JSON object that tells when a byte of it changes: its `sha256` is that of the text with this value empty."""
    text = json.dumps({"sha256": "", **values}, indent=2, ensure_ascii=False) + "\n"
    return text.replace('""', f'"{_digest(text)}"', 1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not name.isprintable():
        raise ValueError(f"{name!r} leads outside of the bundle")
    return name


def _check_types(values: Mapping[str, Any]) -> None:
    """Refuse what a manifest from elsewhere may hold in the place of a text, a number or a digest."""
    for key in ("name", "created", "run", "spec_fingerprint", "opset_reason"):
        if not isinstance(values[key], str):
            raise ValueError(f"its {key} is no text")
    if type(values["opset"]) is not int or (values["step"] is not None and type(values["step"]) is not int):
        raise ValueError("its opset or step is no whole number")
    for name, file in values["files"].items():
        if type(file.size) is not int or file.size < 0 or not re.fullmatch("[0-9a-f]{64}", str(file.sha256)):
            raise ValueError(f"it has no size and SHA-256 for {name}")
    for name, version in values.get("plugins", {}).items():
        if not isinstance(name, str) or not isinstance(version, str):
            raise ValueError("its plugins are not versions by distribution")
