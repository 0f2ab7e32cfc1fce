"""Pretraining in two processes and in one with the doubled batch: `python two_ranks.py FOLDER`.

Torch is imported once; pairs of processes are forked. What is random draws as it always does in the two processes, and
the single process is given what they drew. FOLDER then holds, for each way of training, gradients of every step, the
run, and what an evaluation found.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from cbalign.data.batch import Batch
from cbalign.engine.checkpoint import load_model_weights
from cbalign.engine.checkpoint_folder import list_checkpoints
from cbalign.engine.distribution import World, open_world
from cbalign.engine.loop import fit
from cbalign.engine.reporter import Silent
from cbalign.engine.run import RunFolder, create_run, open_run
from cbalign.engine.sharding import whole_tensor
from cbalign.engine.task import Progress, StepOutput
from cbalign.evaluation.process_group import SINGLE_PROCESS
from cbalign.evaluation.retrieval import RetrievalEvaluator
from cbalign.experiment.experiment import Experiment
from cbalign.models.encoder import TorchEncoder
from cbalign.objectives.masked_language import MaskedTokens
from cbalign.objectives.negatives import HardNegatives, Negatives
from cbalign.objectives.step import Step
from cbalign.tasks.align.learner import AlignmentLearner
from cbalign.tasks.train import open_training
from cbalign.tasks.training import DataTraining

PAIRS, STEPS, GLOBAL_BATCH = 22, 5, 8
Draws = dict[str, Tensor]


def experiment(processes: int, **train: object) -> Experiment:
    """A tiny CODIS without dropout, in float32; queues wrap around within the steps."""
    csv = {"source": "csv", "files": ("pairs.csv",)}
    tower = {"width": 16, "heads": 2, "init": "random"}
    values = {
        "cbalign": 1,
        "name": "tiny",
        "model": {
            "vision": {
                "kind": "timm", "architecture": "vit_tiny_patch16_224", "image_size": 16,
                "patch_size": 8, "layers": 2, **tower,
            },
            "text": {
                "kind": "bert",
                "architecture": "bert-mini", "layers": 2, "intermediate": 16, "dropout": 0.0,
                "tokenizer": "captions", "vocabulary": 100, **tower,
            },
            "fusion": {"layers": 2},
            "joint_dim": 8,
            "codebook": {"size": 6},
            "queue": {"length": 21},
            "teacher": {"momentum": 0.5, "ramp_epochs": 0.0},
        },
        "data": {"train": csv, "validation": csv, "corrupt_limit": 0.1},
        "evaluate": ({"kind": "retrieval", "on": "validation", "protocols": ("dual", "rerank", "code"), "top_k": 5,
                      "batch_size": 4},),
        "train": {
            "duration": f"{STEPS} steps", "batch_size": GLOBAL_BATCH // processes, "precision": "fp32", "device": "cpu",
            # A gradient of zero, as of the keys' biases, is rounding noise: AdamW must not make full steps of it.
            "optimizer": {"lr": 1e-3, "eps": 1e-4}, "schedule": {"kind": "constant"}, "clip_norm": 1.0,
            "log_every": "1 step", "evaluate_every": None, "checkpoint_every": "2 steps", "keep_checkpoints": 9,
            **train,
        },
    }  # fmt: skip
    return Experiment.model_validate(values)


def write_data() -> None:
    words = ["red", "green", "blue", "grey", "pink", "teal", "plum", "gold"]
    rows = ["image,caption"]
    for i in range(PAIRS):
        Image.new("RGB", (20, 20), (i * 10, 255 - i * 10, 7 * i)).save(f"{i}.png")
        rows.append(f"{i}.png,a {words[i % 8]} square{' of its own kind' * (i % 3)} number {i}")
    Path("pairs.csv").write_text("\n".join(rows) + "\n")


def watch_gradients(learner: AlignmentLearner) -> list[Draws]:
    """A list that gets the gradients of every step, clipped as the optimiser sees them."""
    gradients: list[Draws] = []
    after_step = learner.after_step

    def note(progress: Progress) -> None:
        named = learner.model.named_parameters()
        gradients.append({name: whole_tensor(p.grad).clone() for name, p in named if p.grad is not None})
        after_step(progress)

    learner.after_step = note
    return gradients


def watch_draws(learner: AlignmentLearner) -> list[Draws]:
    """A list that gets what every step draws."""
    draws: list[Draws] = []
    words, begin = learner.model.terms["masked_language"], learner.begin
    mask = words.mask

    def note_mask(batch: Batch) -> MaskedTokens:
        drawn = mask(batch)
        draws.append({"input_ids": drawn.input_ids, "chosen": drawn.chosen, "labels": drawn.labels})
        return drawn

    def note_negatives(step: Step, hardness: float) -> HardNegatives:
        drawn = Step.negatives(step, hardness)
        draws[-1] |= {"text": drawn.text_of_image.index, "image": drawn.image_of_text.index}
        return drawn

    words.mask = note_mask
    learner.begin = lambda *of_step: with_negatives(begin(*of_step), note_negatives)
    return draws


def give_draws(learner: AlignmentLearner, draws: list[Draws]) -> None:
    """Let the steps use these instead of drawing."""
    masks, negatives = iter(draws), iter(draws)
    valid = torch.ones(GLOBAL_BATCH, dtype=torch.bool)
    begin = learner.begin

    def given_mask(batch: Batch) -> MaskedTokens:
        drawn = next(masks)
        return MaskedTokens(drawn["input_ids"], drawn["chosen"], drawn["labels"])

    def given_negatives(step: Step, hardness: float) -> HardNegatives:
        drawn = next(negatives)
        return HardNegatives(Negatives(drawn["text"], valid), Negatives(drawn["image"], valid))

    learner.model.terms["masked_language"].mask = given_mask
    learner.begin = lambda *of_step: with_negatives(begin(*of_step), given_negatives)


def with_negatives(step: Step, draw: Callable[[Step, float], HardNegatives]) -> Step:
    step.negatives = lambda hardness, **_: draw(step, hardness)
    return step


def joined(first: Draws, second: Draws) -> Draws:
    """Draws of two processes as those of one with both batches."""
    length = max(d["input_ids"].shape[1] for d in (first, second))

    def padded(name: str) -> Tensor:
        rows = [torch.nn.functional.pad(d[name], (0, length - d[name].shape[1])) for d in (first, second)]
        return torch.cat(rows)

    each = len(first["text"])
    return {
        "input_ids": padded("input_ids"),
        "chosen": padded("chosen"),
        "labels": torch.cat([first["labels"], second["labels"]]),
        "text": torch.cat([first["text"], second["text"] + each]),
        "image": torch.cat([first["image"], second["image"] + each]),
    }


def train(world: World, name: str, settings: Experiment, draws: list[Draws] | None = None) -> None:
    """Train and write `name/gradients.pt`, `name/draws-RANK.pt` and the run."""
    training = open_training(settings, world)
    gradients = watch_gradients(training.learner)
    run = world.share(new_run(name, training) if world.is_main else None)
    assert run is not None
    if draws is None:
        draws = watch_draws(training.learner)
    else:
        give_draws(training.learner, draws)
    fit(training, settings.train, run, world, Silent())
    torch.save(draws, f"{name}/draws-{world.rank}.pt")
    if world.is_main:
        torch.save(gradients, f"{name}/gradients.pt")


def new_run(name: str, training: DataTraining[Batch]) -> RunFolder:
    run = create_run(Path(name), "tiny", spec="", resolved="", fingerprint="", facts={})
    training.save_assets(run.assets)
    return run


def only_run(name: str) -> RunFolder:
    (folder,) = Path(name).glob("tiny-*")
    return open_run(folder)


def as_if_killed(name: str, copy: str, after: int) -> None:
    """A copy of a run that has no checkpoint after step `after`."""
    shutil.copytree(name, copy)
    for checkpoint in list_checkpoints(only_run(copy).checkpoints):
        if int(checkpoint.name.removeprefix("step-")) > after:
            shutil.rmtree(checkpoint)


def go_on(world: World, name: str, settings: Experiment, kill_at: int | None = None) -> None:
    """Train a run on; process 1 kills itself in step `kill_at`."""
    run = only_run(name)
    training = open_training(settings, world, assets=run.assets)
    step = training.learner.step

    def killing(batch: Batch, progress: Progress) -> StepOutput:
        if world.rank == 1 and progress.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(batch, progress)

    training.learner.step = killing
    fit(training, settings.train, run, world, Silent())


def evaluate(world: World, name: str, settings: Experiment) -> None:
    """The newest checkpoint, evaluated by all together and by each process alone."""
    run = only_run(name)
    training = open_training(settings, world, assets=run.assets)
    load_model_weights(training.learner.model, run.latest_checkpoint())
    encoder = TorchEncoder(training.learner.model, training.assets.tokenizer, world.device)
    source, (section,) = training.sources["validation"], settings.evaluate
    found = {}
    for way, group in (("together", world), ("alone", SINGLE_PROCESS)):
        results = RetrievalEvaluator(section).evaluate(encoder, source, corrupt_limit=0.1, process_group=group)
        found[way] = [result.to_json() for result in results]
    Path(f"{name}/evaluation-{world.rank}.json").write_text(json.dumps(found))


def fork(work: Callable[[World], None], *, size: int = 2, all_survive: bool = True) -> None:
    """Run `work` in processes over gloo; the errors of those that survive are written down if not all are to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    children = []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            place = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
            os.environ.update(place, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
            code = 1
            try:
                with open_world("cpu") as world:
                    work(world)
                code = 0
            except Exception as error:
                if all_survive:
                    traceback.print_exception(error)
                else:
                    Path(f"error-{rank}.json").write_text(json.dumps([type(error).__name__, str(error)]))
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    assert not all_survive or not any(statuses), statuses


def main() -> None:
    write_data()
    two, sharded, one = experiment(2), experiment(2, parallel="fsdp2"), experiment(1)
    for name, settings in (("ddp", two), ("fsdp2", sharded)):
        fork(lambda world, name=name, settings=settings: train(world, name, settings))
        killed = f"{name}-killed"
        as_if_killed(name, killed, after=2)
        fork(lambda world, n=killed, settings=settings: go_on(world, n, settings, kill_at=3), all_survive=False)
        fork(lambda world, n=killed, settings=settings: go_on(world, n, settings))
    draws = [torch.load(f"ddp/draws-{rank}.pt") for rank in range(2)]
    fork(lambda world: train(world, "alone", one, [joined(*both) for both in zip(*draws)]), size=1)
    as_if_killed("fsdp2", "fsdp2-alone", after=4)
    fork(lambda world: go_on(world, "fsdp2-alone", one), size=1)
    fork(lambda world: evaluate(world, "fsdp2", two))
    Path("7.png").write_bytes(b"not a picture")
    fork(lambda world: evaluate(world, "ddp", two))


if __name__ == "__main__":
    import torch._dynamo  # the optimiser imports it in its first step: better once, before the forks
    import torch.utils.tensorboard

    os.chdir(sys.argv[1])
    main()
