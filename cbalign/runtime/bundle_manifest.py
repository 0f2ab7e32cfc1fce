"""The manifest of a bundle: the files that it consists of, with their hashes, and where it is from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from cbalign.data.text import SETTINGS_FILE, TOKENIZER_FILE
from cbalign.errors import BundleError
from cbalign.runtime.bundle_files import bounded, hash_file
from cbalign.runtime.signatures import Signature

FORMAT = 2
KIND = "cbalign bundle"
SPEC = "spec.yaml"
PREPROCESSING = "preprocessing.json"
COPY_AGAIN = "Copy the bundle again, or export it again with `cbalign export`."

_REQUIRED = (SPEC, PREPROCESSING, TOKENIZER_FILE, SETTINGS_FILE)
_EXPORT_AGAIN = "Export it again with `cbalign export`."
_LONGEST_NAME = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")  # of a graph or precision, thus also of a file or folder


@dataclass(frozen=True)
class BundleFile:
    """Expected content of a file: its SHA-256 in hexadecimal and its size in bytes."""

    sha256: str
    size: int

    @classmethod
    def of(cls, path: Path) -> BundleFile:
        """Compute the hash and size of a file."""
        with open(path, "rb") as file:
            return cls(*hash_file(file))


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
                raise BundleError(f"{name} is damaged or was changed: its SHA-256 does not match", remedy=COPY_AGAIN)
            for key in ("graphs", "precisions"):
                values[key] = tuple(map(str, values[key]))
                if wrong := [name for name in values[key] if not _NAME.fullmatch(name)]:
                    raise ValueError(f"it lists {bounded(repr(wrong[0]))} under {key}")
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
            raise BundleError(f"{name}: not a bundle's manifest ({bounded(str(error))})", remedy=COPY_AGAIN) from error


def sealed(values: Mapping[str, Any]) -> str:
    """Return a JSON object with its own hash: `sha256` is that of the text with this value empty."""
    text = json.dumps({"sha256": "", **values}, indent=2, ensure_ascii=False) + "\n"
    return text.replace('""', f'"{_digest(text)}"', 1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not name.isprintable():
        raise ValueError(f"{bounded(repr(name))} is outside the bundle")
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"a name has {len(name):,} characters")
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
