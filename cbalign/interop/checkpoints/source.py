"""Where a checkpoint is: a file, a folder in the hub's layout, or a name on the hub."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cbalign.data.published import PICKLED_FILES, SAFETENSORS_FILES, TOKENIZER_FILES, published_folder, read_json_object
from cbalign.errors import CheckpointError
from cbalign.models.pretrained import read_weights

CONFIG, PROCESSORS, INDEX = "config.json", ("preprocessor_config.json", "processor_config.json"), ".index.json"
OPEN_CLIP_FILES = ("open_clip_config.json", "open_clip_model.safetensors")
OPEN_CLIP_PICKLED = ("open_clip_pytorch_model.bin",)
_LAYOUTS = (
    (*OPEN_CLIP_FILES[1:], *OPEN_CLIP_PICKLED),
    ("model.safetensors", "pytorch_model.bin"),
)


@dataclass(frozen=True)
class CheckpointSource:
    """A checkpoint on this machine.

    Args:
        folder: where its configuration and tokenizer are.
        file: of its weights; None for the file of the folder.
    """

    folder: Path
    file: Path | None = None

    @classmethod
    def find(cls, given: str) -> CheckpointSource:
        """Find a file, a folder or a name on the hub, which is downloaded.

        Raises:
            CheckpointError: there is no such file, and the name cannot be downloaded.
        """
        path = Path(given)
        if path.is_dir():
            return cls(path)
        if path.is_file() or path.suffix or path.is_absolute():
            if not path.is_file():
                what = "is not a regular file" if path.exists() else "does not exist"
                raise CheckpointError(f"{given} {what}")
            return cls(path.parent, path)
        patterns = (*TOKENIZER_FILES, *PROCESSORS, *OPEN_CLIP_FILES)
        folder = published_folder(given, "import", (*patterns, *SAFETENSORS_FILES))
        if not any(folder.glob("*.safetensors")):
            folder = published_folder(given, "import", (*patterns, *PICKLED_FILES, *OPEN_CLIP_PICKLED))
        return cls(folder)

    @property
    def name(self) -> str:
        """Its name in messages."""
        return str(self.file or self.folder)

    def weights(self, *, prefer_open_clip: bool = False) -> dict[str, Tensor]:
        """Read the tensors in float32, without running code that a file may hold.

        Args:
            prefer_open_clip: read open_clip's file of a folder that has those of several libraries.

        Raises:
            CheckpointError: there is no file of weights, or it cannot be read.
        """
        if self.file is not None:
            _refuse_program(self.file)
        tensors = read_weights(self.file) if self.file else self._of_folder(prefer_open_clip)
        bare = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
        return {n: t.to(torch.float32) if t.is_floating_point() else t for n, t in bare.items()}

    def _of_folder(self, prefer_open_clip: bool) -> dict[str, Tensor]:
        layouts = _LAYOUTS if prefer_open_clip else _LAYOUTS[::-1]
        for names in layouts:
            if shards := self._shards(names):
                return {name: tensor for shard in shards for name, tensor in read_weights(shard).items()}
        raise CheckpointError(
            f"{self.folder} contains no weights",
            remedy=f"Expected one of {', '.join(name for names in layouts for name in names)}.",
        )

    def _shards(self, names: Sequence[str]) -> list[Path]:
        for name in names:
            if (self.folder / name).is_file():
                return [self.folder / name]
            if (self.folder / f"{name}{INDEX}").is_file():
                mapping = self.json(f"{name}{INDEX}").get("weight_map", {})
                return [self.folder / str(shard) for shard in sorted(set(mapping.values()))]
        return []

    def json(self, name: str) -> dict[str, Any]:
        """Read a JSON object of the folder; empty if the file is missing.

        Raises:
            CheckpointError: it is damaged.
        """
        path = self.folder / name
        return read_json_object(path) if path.is_file() else {}

    def processor(self) -> tuple[dict[str, Any], str]:
        """Return the configuration of the image processor, empty if there is none, and its name in messages."""
        for name in PROCESSORS:
            if found := self.json(name):
                return found, str(self.folder / name)
        return {}, str(self.folder)

    def tokenizer_files(self) -> tuple[Path, ...]:
        """Return the files of the tokenizer."""
        return tokenizer_files(self.folder)


def _refuse_program(file: Path) -> None:
    """Refuse a TorchScript archive, as which OpenAI published CLIP: reading it would execute its code."""
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        if any("/code/" in name or name.endswith("constants.pkl") for name in archive.namelist()):
            raise CheckpointError(
                f"{file} is a TorchScript program, which cbalign does not execute",
                remedy="Convert it to tensors with open_clip, which executes it: `model = open_clip.create_model("
                "'ViT-B-32-quickgelu', pretrained='openai')` and `safetensors.torch.save_file(model.state_dict(), "
                "'clip.safetensors')`; or import the folder of transformers, such as openai/clip-vit-base-patch32.",
            )


def tokenizer_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a tokenizer in a folder, without config.json."""
    patterns = [pattern for pattern in TOKENIZER_FILES if pattern != CONFIG]
    return tuple(dict.fromkeys(path for pattern in patterns for path in sorted(folder.glob(pattern))))
