"""Changed checkpoints: resumed, opened, listed, and imported.

- An interrupted training whose checkpoints changed is refused, or resumed to the result of an undisturbed one, from an
  earlier checkpoint if need be.
- A changed run of version 0.1.0, which has no checksums, is refused or opened, and so are its lists.
- A changed checkpoint of CLIP is refused, or imported with finite weights.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPModel

from cbalign.engine.checkpoint import MODEL
from cbalign.engine.run import RunFolder
from cbalign.interop.checkpoints.format import ImportRequest, checkpoint_formats
from cbalign.interop.checkpoints.prepared import import_checkpoint
from cbalign.lab.runs.detail import open_detail
from cbalign.lab.runs.overview import overview
from cbalign.tasks.opened import open_model
from tests.engine import tiny_task
from tests.interop.checkpoints.conftest import write_processor, write_tokenizer
from tests.trials.mutation import Base, Mutation, require
from tests.trials.trial import outcome

_OLD = Path(__file__).parents[1] / "compatibility" / "runs"
_OPENED = ("pretrain-2", "vqa-2", "nlvr2-2")
_WORDS = ("model.safetensors", "state.json", "optimizer.pt", "SHA256SUMS", "latest")
_TOWER = {"intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8}


class Checkpoints(Mutation):
    """Changed checkpoints."""

    name, full = "checkpoints", 800

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._tiny, self._expected = _interrupted(folder / "tiny")
        self._bases = [Base("an interrupted training", _resumed_from(self._tiny))] * 3
        for path in sorted(_OLD.glob("*-*")):
            if path.name.startswith(_OPENED):
                self._bases.append(Base(path.name, _contents(path, ("",))))
        self._bases += [_clip(folder / "clip", safe=True), _clip(folder / "clip-pickled", safe=False)]

    def bases(self) -> list[Base]:
        """An interrupted training, old runs, and checkpoints of CLIP."""
        return self._bases

    def judge(self, base: Base, files: dict[str, bytes], number: int) -> str:
        """Use what changed."""
        place = self.folder / "changed"
        shutil.rmtree(place, ignore_errors=True)
        if base.name == "an interrupted training":
            shutil.copytree(self._tiny.folder, place)
        _write(place, files)
        if base.name.startswith("clip"):
            return f"import {outcome(lambda: self._import(place))}"
        if base.name == "an interrupted training":
            return f"resume {outcome(lambda: self._resume(RunFolder(place)))}"
        lists = outcome(lambda: (overview(RunFolder(place)), open_detail(RunFolder(place))))
        return f"run {outcome(lambda: _open(place))}, lists {lists}"

    def _resume(self, run: RunFolder) -> None:
        tiny_task.train(run, tiny_task.WaveringTask(), tiny_task.settings(keep_best="validation/wavering"))
        require(tiny_task.digest(run) == self._expected, "another result than that of an undisturbed training")

    def _import(self, place: Path) -> None:
        runs = self.folder / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        try:
            imported = import_checkpoint(checkpoint_formats()["clip"], ImportRequest(str(place)), runs)
        except BaseException:
            left = list(runs.glob("*-*")) if runs.exists() else []
            require(not left, f"a refused import left {left}")
            raise
        for name, tensor in load_file(imported.run.latest_checkpoint() / MODEL).items():
            require(not tensor.is_floating_point() or bool(tensor.isfinite().all()), f"{name} is not finite")
        _open(imported.run.folder)


def _interrupted(place: Path) -> tuple[RunFolder, str]:
    """A run with several checkpoints that was killed after step 17, and the digest of the finished one."""
    keep = {"keep_best": "validation/wavering"}
    finished = tiny_task.new_run(place / "finished")
    tiny_task.train(finished, tiny_task.WaveringTask(), tiny_task.settings(**keep))
    run = tiny_task.new_run(place / "killed")
    child = os.fork()
    if child == 0:
        task, steps = tiny_task.WaveringTask(), iter(range(1_000))
        task.hook = lambda event: os._exit(9) if event == "step" and next(steps) == 17 * 4 else None
        tiny_task.train(run, task, tiny_task.settings(**keep))
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 9
    return run, tiny_task.digest(finished)


def _resumed_from(run: RunFolder) -> dict[str, bytes]:
    """The files that resuming may read; nothing can replace the best checkpoint if it is damaged."""
    best = (run.checkpoints / "best").read_text().strip()
    found = _contents(run.folder, _WORDS)
    return {name: content for name, content in found.items() if f"/{best}/" not in name}


def _contents(root: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The files with one of these endings, by path."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name.endswith(names))
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def _write(place: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)


def _clip(folder: Path, *, safe: bool) -> Base:
    vision = {**_TOWER, "image_size": 16, "patch_size": 8}
    text = {**_TOWER, "vocab_size": 44, "max_position_embeddings": 12, "bos_token_id": 42, "eos_token_id": 43}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=8))
    model.save_pretrained(folder)
    if not safe:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    write_tokenizer(folder)
    write_processor(folder, size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    return Base(folder.name, _contents(folder, ("",)))


def _open(place: Path) -> None:
    open_model(place, "cpu")
