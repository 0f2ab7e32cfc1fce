"""Train with methods of the example plug-in that return wrong values; print by case what the command reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from unittest import mock

import torch
from click.testing import CliRunner

from cbalign.cli import main as cbalign
from cbalign.models.transport import TransportPlan
from cbalign.objectives.objective import Term
from cbalign_example import bag, patchify, sections, sidecar, sigmoid, softmax, steps

WRONG: dict[str, tuple[object, str, Callable[..., object]]] = {
    "term": (sigmoid.Sigmoid, "forward", lambda self, step: step.image_embedding.sum()),
    "metric": (sigmoid.Sigmoid, "forward", lambda self, step: Term(step.image_embedding.sum(), {"bias": 0.5})),
    "loss": (sigmoid.Sigmoid, "forward", lambda self, step: Term(step.image_embedding.sum(dim=1))),
    "texts": (sigmoid.Sigmoid, "texts", lambda self, step: step.captions),
    "objective": (sigmoid, "Sigmoid", lambda section, context: torch.nn.Linear(1, 1)),
    "plan": (softmax.Softmax, "__call__", lambda self, costs: costs.softmax(dim=1)),
    "shape of a plan": (softmax.Softmax, "__call__", lambda self, costs: TransportPlan(costs[:, 1:])),
    "rate": (steps.Steps, "__call__", lambda self, step: "1e-3"),
    "source": (sidecar, "open_sidecar", lambda section, items: ["a.png"]),
    "item": (sidecar.Sidecar, "item", lambda self, index: {"image": "a.png"}),
    "images": (sidecar.Sidecar, "images", lambda self, index: [None]),
    "data sets": (sections.SidecarSource, "data_sets", lambda self: "coco"),
    "image tokens": (patchify.Patchify, "encode", lambda self, normalised: normalised.flatten(2)),
    "text tokens": (bag.Bag, "forward", lambda self, input_ids, attention_mask: self.words[input_ids].mean(dim=1)),
}


def main() -> None:
    found, words = {}, ["train", "example.yaml", "--set", "train.duration=1step", "--runs-dir", "wrong"]
    for case, (owner, name, wrong) in WRONG.items():
        with mock.patch.object(owner, name, wrong):
            done = CliRunner().invoke(cbalign, words)
            found[case] = {"code": done.exit_code, "out": done.stdout, "err": done.stderr}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
