"""Training in Python, and runs as objects."""

import shutil
import warnings

import numpy as np
import pytest

import cbalign
from cbalign.errors import CbalignError, CheckpointError, DataError, Interrupted, SpecError, UsageError
from tests.api.conftest import SPEC, make_pairs


class Columns:
    """As much of a Hugging Face dataset as is read, with images that are decoded when asked for."""

    column_names = ["image", "caption", "id"]  # noqa: RUF012

    def __init__(self, pairs):
        self._pairs = pairs
        self.decoded = 0

    def __len__(self):
        return len(self._pairs)

    def __getitem__(self, key):
        if isinstance(key, str):
            return [text for _, text in self._pairs]
        self.decoded += 1
        image, text = self._pairs[key]
        return {"image": image, "caption": text, "id": key}


@pytest.fixture
def train(tmp_path):
    def call(data, **options):
        given = {"runs": tmp_path / "runs", "progress": False, "validation": make_pairs()[:4], **options}
        return cbalign.train(SPEC, data=data, **{"train.duration": "1 step", "evaluate": []}, **given)

    return call


def test_a_run_describes_itself(run, pairs):
    assert run.status == "finished"
    assert run.path.name == run.name
    assert run.name.startswith("mine-")
    assert "validation/dual/image_to_text/r1" in run.metrics
    assert [path.name for path in run.checkpoints] == ["step-2", "step-4"]
    assert run.spec["train.duration"] == "4 steps"
    assert run.path.is_absolute()
    assert repr(run).startswith(f"Run {run.path} (finished)\n  ")
    assert "<td>validation/dual/image_to_text/r1</td>" in run._repr_html_()
    assert run.to_dict() == {"path": str(run.path), "status": "finished", "metrics": run.metrics}
    kinds = [line["kind"] for line in run.history()]
    assert kinds == ["train", "train", "evaluation"]
    (evaluation,) = run.history("evaluation")
    assert evaluation["step"] == 4
    assert len(run.history("train")) == 2


def test_on_step_is_called_with_each_line(run, lines):
    assert [(line["kind"], line["step"]) for line in lines] == [("train", 2), ("train", 4), ("evaluation", 4)]
    assert "loss" in lines[0]
    assert lines == run.history()


def test_a_torch_dataset(train, pairs):
    from torch.utils.data import Dataset

    class Pairs(Dataset):
        def __len__(self):
            return len(pairs)

        def __getitem__(self, index):
            return pairs[index]

    assert train(Pairs()).status == "finished"


def test_a_torch_dataset_of_dicts_with_tensors(train, pairs):
    import torch
    from torch.utils.data import Dataset

    class Items(Dataset):
        def __len__(self):
            return len(pairs)

        def __getitem__(self, index):
            image, text = pairs[index]
            return {"pixel_values": torch.from_numpy(np.array(image)).permute(2, 0, 1), "text": text}

    assert train(Items()).status == "finished"


def test_a_hugging_face_dataset(train, pairs):
    data = Columns(pairs)
    assert train(data).status == "finished"
    assert 0 < data.decoded <= 8  # a batch, not the whole set for its captions


def test_images_may_have_several_captions_and_any_form(train, pairs, folder):
    data = [
        (folder / "0.png", ["a cat", "a red cat"]),
        (str(folder / "1.png"), "a dog"),
        (np.asarray(pairs[2][0]), "c"),
    ]
    data += [
        ({"bytes": (folder / "3.png").read_bytes(), "path": None}, "a cup"),
        ((folder / "4.png").read_bytes(), "a hat"),
    ]
    assert train(data).status == "finished"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "train: there are no pairs"),
        (["a.png"], "item 0 is str, not a pair"),
        ([("a.png", "a cat", "x")], "item 0 is tuple, not a pair"),
        ([("a.png", "a cat"), ("b.png", "")], "item 1 has no caption"),
        ([("a.png", "a cat"), ("b.png", None)], "item 1 has no caption"),
        ([("a.png", "a cat"), ("b.png",)], "item 1 is tuple, not a pair"),
        ([{"picture": "a.png", "label": 3}], "no column for the caption: the data have picture, label"),
        ("pairs.json", "str is not a list of pairs or a dataset"),
        ({"train": []}, "dict is not a list of pairs or a dataset"),
        (7, "int is not a list of pairs or a dataset"),
    ],
)
def test_what_are_not_pairs_is_refused(train, data, message):
    with pytest.raises(UsageError, match=message):
        train(data)


def test_an_image_that_cannot_be_read_is_named(train):
    with pytest.raises(DataError, match=r"missing\.png"):
        train([("missing.png", "a cat"), ("missing.png", "a dog")] * 4)


def test_pairs_are_for_tasks_of_pairs(old_run, pairs, tmp_path):
    path = old_run("vqa")
    with pytest.raises(SpecError, match="memory has pairs, but task vqa learns from questions"):
        cbalign.train(path / "resolved.yaml", data=pairs, runs=tmp_path / "runs", progress=False)
    with pytest.raises(CbalignError, match="source memory has pairs, not questions"):
        cbalign.evaluate(path, data=pairs, device="cpu")


def test_progress_is_plain_outside_a_terminal(train, pairs, capsys):
    run = train(pairs, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"run {run.path}" in captured.err.replace("\n", "") or run.name in captured.err
    assert "\x1b" not in captured.err
    train(pairs, progress=False)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_an_exception_in_on_step_ends_the_training(train, pairs):
    def stop(line):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        train(pairs, on_step=stop, **{"train.log_every": "1 step"})


@pytest.mark.parametrize("changes", [{"train.durattion": 1}, {"nothing": 1}])
def test_wrong_changes_are_refused_before_anything_starts(train, pairs, changes, tmp_path):
    with pytest.raises(SpecError):
        train(pairs, **changes)
    assert not (tmp_path / "runs").exists()


class Stop(Exception):
    pass


@pytest.fixture
def interrupted(tmp_path, pairs):
    """A run that stopped after its first checkpoint."""

    def stop(line):
        if line["step"] == 4:
            raise Stop

    with pytest.raises(Stop):
        cbalign.train(
            SPEC, data=pairs, validation=pairs[::4], runs=tmp_path / "runs", on_step=stop, progress=False,
            **{"train.duration": "6 steps"},
        )  # fmt: skip
    (path,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    return cbalign.Run(path)


def test_resume_takes_the_data_again(interrupted, pairs):
    assert [path.name for path in interrupted.checkpoints] == ["step-2"]
    others = [(image, f"{text} again") for image, text in pairs]
    with pytest.raises(UsageError, match=r"the pairs for data\.train differ"):
        cbalign.resume(interrupted, data=others, validation=pairs[::4], progress=False)
    with pytest.raises(UsageError, match=r"data\.test of this run is not data given from Python"):
        cbalign.resume(interrupted, data=pairs, test=pairs, progress=False)
    with pytest.raises(UsageError, match="cannot resume with other training settings"):
        cbalign.resume(interrupted, data=pairs, progress=False, **{"train.optimizer.lr": 0.5})
    seen = []
    resumed = cbalign.resume(
        str(interrupted.path), data=pairs, validation=pairs[::4], on_step=seen.append, progress=False
    )
    assert resumed.path == interrupted.path
    assert resumed.status == "finished"
    assert seen[-1]["step"] == 6


def test_resume_in_another_process_asks_for_the_data(interrupted, monkeypatch):
    monkeypatch.setattr("cbalign.data.memory._given", {})
    with pytest.raises(DataError, match="given from Python") as caught:
        cbalign.resume(interrupted, progress=False)
    assert "cbalign.resume" in caught.value.remedy


def test_on_step_can_stop_the_training(tmp_path, pairs):
    def stop(line):
        if line["step"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="after step 4 of 6") as caught:
        cbalign.train(
            SPEC, data=pairs, validation=pairs[::4], runs=tmp_path / "runs", on_step=stop, progress=False,
            **{"train.duration": "6 steps", "train.checkpoint_every": "6 steps"},
        )  # fmt: skip
    run = cbalign.Run(tmp_path / "runs/latest")
    assert "cbalign.resume(" in caught.value.remedy
    assert "data=…, validation=…)" in caught.value.remedy
    assert run.status == "interrupted"
    assert [path.name for path in run.checkpoints] == ["step-4"]
    assert cbalign.resume(run, data=pairs, validation=pairs[::4], progress=False).status == "finished"


def test_a_run_without_a_checkpoint_says_how_to_resume_it(run, tmp_path):
    copy = shutil.copytree(run.path, tmp_path / "copy", ignore=shutil.ignore_patterns("step-*"))
    with pytest.raises(CheckpointError, match="no checkpoint yet") as caught:
        cbalign.load(copy)
    assert caught.value.remedy.endswith("copy', data=…, validation=…)")


def test_own_data_without_own_validation_data_is_a_warning(tmp_path, pairs):
    path = cbalign.spec(SPEC).save(tmp_path / "mine.yaml")
    options = {"data": pairs, "runs": tmp_path / "runs", "progress": False}
    changes = {"train.duration": "1 step", "evaluate": []}
    with pytest.warns(
        UserWarning, match=r"validation data of the spec \(scenes, set in .*mine\.yaml:\d+.*validation=…"
    ):
        cbalign.train(path, **options, **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cbalign.train(path, validation=pairs[:4], **options, **changes)


def test_missing_validation_pairs_are_named(tmp_path, pairs):
    with pytest.raises(SpecError, match="takes it as `validation`"):
        cbalign.train({**SPEC, "data": {}}, data=pairs, runs=tmp_path / "runs", progress=False)


def test_columns_of_files(train, pairs, folder):
    rows = [{"file_name": str(folder / f"{i}.png"), "text": text} for i, (_, text) in enumerate(pairs)]
    assert train(rows).status == "finished"
    with pytest.raises(UsageError, match="no column for the image") as caught:
        train([{"foto": "a.png", "text": "a cat"}])
    assert "Rename the column to 'image'" in caught.value.remedy


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "train: item 0: NoneType is not an image"),
        (np.full((8, 8, 3), 200.0), r"must lie in \[0, 1\].*Divide by 255"),
        (np.zeros((3, 8, 9), np.uint8), "np.moveaxis"),
    ],
)
def test_images_that_cannot_be_used_have_a_remedy(train, image, message):
    with pytest.raises(DataError, match=message):
        train([(image, "a cat")] * 8)


def test_a_finished_run_is_returned(run, pairs):
    assert cbalign.resume(run) == run


def test_resume_needs_a_run(tmp_path, bundle):
    for target in (tmp_path, bundle.path, bundle):
        with pytest.raises(CbalignError, match="is not a run") as caught:
            cbalign.resume(target)
        assert caught.value.remedy
