"""The task `vqa`: what it learns from a batch, what it starts from, and a whole training on a few coloured squares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cbalign.engine.checkpoint import read_model
from cbalign.engine.checkpoint_folder import list_checkpoints
from cbalign.engine.distribution import World
from cbalign.engine.run import open_run
from cbalign.engine.task import Progress
from cbalign.errors import DataError
from cbalign.evaluation.result import EvaluationDocument
from cbalign.experiment.experiment import Experiment
from cbalign.tasks.train import open_training
from cbalign.tasks.training import DataTraining
from tests.cli.tiny import cbalign

COLOURS = {"red": (220, 30, 30), "dark green": (20, 90, 20), "blue": (40, 40, 230), "white": (250, 250, 250)}
TOWER = {"width": 32, "heads": 2, "init": "random"}


def write_lists(folder: Path) -> None:
    entries = []
    for i in range(24):
        colour = list(COLOURS)[i % 4]
        shade = np.clip(np.array(COLOURS[colour]) + i - 12, 0, 255).astype(np.uint8)
        Image.fromarray(np.full((20, 20, 3), shade)).save(folder / f"{i}.png")
        others = ["yes"] * 2 if i % 2 else []
        entries.append(
            {
                "dataset": "vqa",
                "image": f"{i}.png",
                "question": ["What colour is it?", "Which colour?"][i % 2],
                "answer": [colour] * (10 - len(others)) + others,
                "question_id": 100 + i,
            }
        )
    (folder / "train.json").write_text(json.dumps(entries))
    secret = [{name: value for name, value in entry.items() if name != "answer"} for entry in entries[:5]]
    (folder / "secret.json").write_text(json.dumps(secret))


def values(**changes: Any) -> dict[str, Any]:
    listed = {"source": "albef-vqa", "files": ["train.json"]}
    return {
        "cbalign": 1,
        "name": "tiny",
        "task": {"kind": "vqa"},
        "model": {
            "vision": {
                "kind": "timm", "architecture": "vit_tiny_patch16_224", "image_size": 16,
                "patch_size": 8, "layers": 1, **TOWER,
            },
            "text": {
                "kind": "bert",
                "architecture": "bert-mini", "layers": 1, "intermediate": 32, "dropout": 0.0,
                "tokenizer": "captions", "vocabulary": 100, **TOWER,
            },
            "fusion": {"layers": 1},
            "teacher": {"momentum": 0.9, "distillation": 0.4, "ramp_epochs": 0.0},
        },
        "data": {
            "train": listed, "validation": listed, "test": {"source": "albef-vqa", "files": ["secret.json"]},
            "augmentation": {"crop_scale": [1.0, 1.0], "randaugment": {"operations": 0}, "two_views": False},
        },
        "train": {
            "duration": "4 steps", "batch_size": 8, "precision": "fp32", "device": "cpu",
            "optimizer": {"lr": 3e-3}, "schedule": {"kind": "constant", "warmup": "0 steps"}, "log_every": "2 steps",
            "checkpoint_every": "2 steps", "keep_checkpoints": 9,
        },
        "evaluate": [{"kind": "vqa", "on": "validation", "protocols": ["rank", "generate"], "bootstrap": 0}],
        **changes,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_lists(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(**changes: Any) -> DataTraining[Any]:
    training = open_training(Experiment.model_validate_json(json.dumps(values(**changes))), World.single())
    assert isinstance(training, DataTraining)
    return training


def progress(step: int = 3) -> Progress:
    return Progress(step=step, total_steps=10, steps_per_epoch=3)


def test_the_loss_is_the_mean_over_questions_of_answers_weighted_by_their_annotators(folder: Path) -> None:
    training = opened(legacy={"undistilled_answers": True})
    learner, tokenizer = training.learner, training.assets.tokenizer
    learner.model.eval()
    batch = next(training.batches(0))
    found = learner.step(batch, progress()).loss.item()
    student, expected = learner.model.student, 0.0
    with torch.no_grad():
        for i, index in enumerate(batch.indices.tolist()):
            question = student.read(
                batch.images[i : i + 1], batch.input_ids[i : i + 1], batch.attention_mask[i : i + 1]
            )
            colour = list(COLOURS)[index % 4]
            for answer, share in [(colour, 0.8), ("yes", 0.2)] if index % 2 else [(colour, 1.0)]:
                ids = [tokenizer.cls_id, *tokenizer.word_ids(answer), tokenizer.sep_id]
                logits = student.decoder(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long), question)[0]
                log_p = logits.double().log_softmax(dim=1)
                expected -= share * sum(log_p[t, ids[t + 1]].item() for t in range(len(ids) - 1))
    assert found == pytest.approx(expected / len(batch), rel=1e-5)


def test_distillation_mixes_in_the_teacher_unless_the_published_code_is_asked_for(folder: Path) -> None:
    training = opened()
    mixed, legacy = training.learner, opened(legacy={"undistilled_answers": True}).learner
    batch = next(training.batches(0))
    for learner in (mixed, legacy):
        learner.model.eval()
        with torch.no_grad():
            for parameter in learner.model.teacher.parameters():
                parameter.mul_(1.3)  # a teacher of another opinion
    losses = [learner.step(batch, progress()).loss.item() for learner in (mixed, legacy)]
    assert losses[0] != pytest.approx(losses[1], rel=1e-5)
    mixed._teacher = mixed._teacher.model_copy(update={"distillation": 0.0})
    assert mixed.step(batch, progress()).loss.item() == pytest.approx(losses[1])


def test_a_training_learns_evaluates_and_goes_on_after_a_kill(folder: Path) -> None:
    (folder / "spec.json").write_text(json.dumps(values(train=values()["train"] | {"duration": "60 steps"})))
    trained = cbalign(folder, "train", "spec.json")
    assert trained.code == 0, trained.stderr
    run = open_run(folder / trained.stdout.strip())
    assert json.loads((run.assets / "answers.json").read_text()) == ["blue", "dark green", "red", "white"]

    whole = read_model(run.latest_checkpoint())
    for checkpoint in list_checkpoints(run.checkpoints)[3:]:
        for file in sorted(checkpoint.iterdir()):
            file.unlink()
        checkpoint.rmdir()
    (run.checkpoints / "latest").unlink(missing_ok=True)
    manifest = json.loads(run.manifest.read_text())
    manifest["status"] = "running"
    run.manifest.write_text(json.dumps(manifest))
    again = cbalign(folder, "train", str(run.folder))
    assert again.code == 0, again.stderr
    resumed = read_model(run.latest_checkpoint())
    assert all(tensor.equal(resumed[name]) for name, tensor in whole.items())

    evaluated = cbalign(folder, "evaluate", str(run.folder))
    assert evaluated.code == 0, evaluated.stderr
    results = [
        EvaluationDocument.from_json(file.read_text()).results[0] for file in sorted(run.evaluation.glob("*.json"))
    ]
    ranked = next(result for result in results if result.protocol_name == "rank top 4")
    assert ranked.flat()["accuracy"] > 80
    assert ranked.predictions[0] == "red"


def test_an_answer_list_that_lacks_the_answers_is_refused(folder: Path) -> None:
    (folder / "answers.json").write_text(json.dumps(["red", "purple"]))
    message = r"answers\.json contains no answer to 18 of 24 questions of train\.json; the first: question 101"
    with pytest.raises(DataError, match=message):
        opened(task={"kind": "vqa", "answer_list": "answers.json"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}', r"answers\.json: expected a JSON list of answers, found \{'a': 1\}"),
        ("[]", r"answers\.json: expected a JSON list of answers, found \[\]"),
        ('["yes", 3]', r"answers\.json, entry 2: expected an answer, found 3"),
        ('["yes", "no", "yes"]', r"answers\.json, entry 3: 'yes' is already entry 1"),
        ("[", r"answers\.json: not a JSON list of answers"),
    ],
)
def test_a_damaged_answer_list_names_file_and_entry(folder: Path, content: str, message: str) -> None:
    (folder / "answers.json").write_text(content)
    with pytest.raises(DataError, match=message):
        opened(task={"kind": "vqa", "answer_list": "answers.json"})


def test_answers_that_are_rarely_the_most_frequent_one_are_left_out_of_the_list(folder: Path) -> None:
    assert opened(task={"kind": "vqa", "answer_minimum": 6}).assets.answers == ("blue", "dark green", "red", "white")
    with pytest.raises(DataError, match="no answer is the most frequent answer to 7 or more questions"):
        opened(task={"kind": "vqa", "answer_minimum": 7})


def test_answers_that_the_tokenizer_reads_alike_are_told(folder: Path) -> None:
    told: list[str] = []
    for listed in (["red", "dark green", "blue", "white"], ["red", "dark green", "Red", "blue", "white", "RED", "2"]):
        (folder / "answers.json").write_text(json.dumps(listed))
        experiment = values(task={"kind": "vqa", "answer_list": "answers.json"})
        open_training(Experiment.model_validate_json(json.dumps(experiment)), World.single(), notice=told.append)
    (line,) = told
    assert line.startswith("warning: 2 of 7 answers can never be given")
    assert line.endswith(": 'Red' reads as 'red', 'RED' reads as 'red'")


def test_secret_answers_cannot_be_trained_on(folder: Path) -> None:
    data = values()["data"] | {"train": {"source": "albef-vqa", "files": ["secret.json"]}}
    (folder / "answers.json").write_text(json.dumps(list(COLOURS)))
    training = opened(
        data=data, train=values()["train"] | {"batch_size": 2}, task={"kind": "vqa", "answer_list": "answers.json"}
    )
    with pytest.raises(DataError, match=r"secret\.json: question 10\d has no answers"):
        next(training.batches(0))
