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

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cbalign.errors import BundleError, UsageError
from cbalign.experiment.diagnostics import InvalidSpec
from cbalign.experiment.files import COMPLETE
from cbalign.experiment.load import LoadedExperiment, load_experiment, read_task
from cbalign.parts import TaskSection
from cbalign.runtime.bundle_files import bounded, hash_file, open_inside, read_inside
from cbalign.runtime.bundle_manifest import COPY_AGAIN as _COPY_AGAIN
from cbalign.runtime.bundle_manifest import FORMAT as FORMAT
from cbalign.runtime.bundle_manifest import KIND as KIND
from cbalign.runtime.bundle_manifest import PREPROCESSING as PREPROCESSING
from cbalign.runtime.bundle_manifest import SPEC as SPEC
from cbalign.runtime.bundle_manifest import BundleFile as BundleFile
from cbalign.runtime.bundle_manifest import BundleManifest as BundleManifest
from cbalign.runtime.bundle_manifest import sealed as sealed
from cbalign.runtime.external_data import external_files
from cbalign.runtime.signatures import Signature
from cbalign.runtime.task import task_runtime

MANIFEST = "manifest.json"
PARITY = "parity.json"
GOLDEN = "golden.npz"
CARD = "README.md"

_MAX_MANIFEST = 16 << 20  # bytes


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
            text = read_inside(folder, MANIFEST, _MAX_MANIFEST).decode("utf-8")  # bytes: the hash covers line ends
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
        with _damaged_spec(self.folder / SPEC):
            return read_task(self.folder / SPEC, COMPLETE)

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
                with open_inside(self.folder, name) as file:
                    size = os.fstat(file.fileno()).st_size
                    if size != expected.size:
                        raise BundleError(
                            f"{path} is damaged: {size:,} bytes instead of {expected.size:,}", remedy=_COPY_AGAIN
                        )
                    found = BundleFile(*hash_file(file, expected.size))
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

    def verify_external_data(self, precision: str) -> None:
        """Check that the graphs of one precision keep tensors only in files next to them that the manifest lists.

        Raises:
            BundleError: a graph names another file, or is not an ONNX graph.
        """
        for graph in self.manifest.graphs:
            path = self.graph_path(precision, graph)
            for location in sorted(external_files(path)):
                if f"{precision}/{location}" not in self.manifest.files or "/" in location:
                    raise BundleError(
                        f"{path} reads weights from {bounded(repr(location))}, which {MANIFEST} does not list",
                        remedy=_COPY_AGAIN,
                    )

    @cached_property
    def loaded(self) -> LoadedExperiment:
        """The experiment of the bundle's spec, which is complete and names no other file.

        Raises:
            BundleError: the bundle's spec is damaged or extends another one.
            SpecError: it has parts of a plug-in that is not installed.
        """
        with _damaged_spec(self.folder / SPEC):
            return load_experiment(self.folder / SPEC, check_files=False, environment={}, files=COMPLETE)

    def unlisted(self) -> list[str]:
        """Return the files in the folder that the manifest does not list; they are not used."""
        present = (path for path in self.folder.rglob("*") if path.is_file())
        names = sorted(path.relative_to(self.folder).as_posix() for path in present)
        return [name for name in names if name != MANIFEST and name not in self.manifest.files]

    def names_of(self, precision: str) -> list[str]:
        """Return the files needed to run one precision: those in its folder and those at the top level."""
        return [name for name in self.manifest.files if "/" not in name or name.startswith(f"{precision}/")]


@contextmanager
def _damaged_spec(path: Path) -> Iterator[None]:
    """Turn the mistakes of a bundle's spec into one `BundleError`, except those that a plug-in would mend."""
    try:
        yield
    except InvalidSpec as error:
        if any(each.unknown_part or each.path.startswith("requires") for each in error.diagnostics):
            raise
        raise BundleError(f"{path} is damaged:\n{bounded(str(error), 2000)}", remedy=_COPY_AGAIN) from error


def is_bundle(path: Path) -> bool:
    """Return whether a folder has the manifest of a bundle, even a damaged one."""
    try:
        values = json.loads(read_inside(path, MANIFEST, _MAX_MANIFEST))
    except (OSError, ValueError, RecursionError, BundleError):
        return False
    return isinstance(values, dict) and values.get("kind") == KIND


def list_files(folder: Path) -> dict[str, BundleFile]:
    """List all files below `folder` except the manifest, in the form of a manifest."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: BundleFile.of(path) for name, path in names.items() if name != MANIFEST}
