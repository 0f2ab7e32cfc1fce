"""Run a training of the study once, and keep what it measured in a JSON file.

A record holds the ranks of all queries, so that tables and intervals are computed without training again. It also holds
a fingerprint of all settings of its spec: a study never mixes records of other settings.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cbalign
from benchmarks.study.design import METHODS, base

DIRECTIONS = ("image_to_text", "text_to_image")

Ranks = dict[str, dict[str, list[int]]]
"""Ranks of the queries, from 1, by protocol and direction."""


@dataclass(frozen=True)
class Plan:
    """One training of the study.

    Args:
        data_set: whose spec it changes.
        phase: `tune`, `test`, `time` or `ablation`.
        method: a name of `METHODS`.
        label: which trial, ablation or condition it is.
        seed: `train.seed`.
        changes: settings besides the method's.
        split: what is measured.
    """

    data_set: str
    phase: str
    method: str
    label: str
    seed: int
    changes: Mapping[str, Any]
    split: str

    @property
    def name(self) -> str:
        """The name of the record."""
        words = "".join(c if c.isalnum() else "-" for c in self.label.lower())
        return f"{self.data_set}/{self.phase}/{self.method}_{words}_seed{self.seed}.json"

    def spec(self) -> cbalign.Spec:
        """Return the spec that is trained."""
        method = METHODS[self.method]
        changes = {"evaluate.0.protocols": method.protocols, "train.seed": self.seed, **method.changes, **self.changes}
        return cbalign.spec(base(self.data_set), **changes)


@dataclass(frozen=True)
class Record:
    """What one training measured."""

    plan: dict[str, Any]
    fingerprint: str  # of all settings
    seconds: float  # of the steps alone
    run: str
    ranks: Ranks

    def recall(self, protocol: str, k: int = 1) -> float:
        """R@k in per cent, the mean of both directions."""
        found = [sum(rank <= k for rank in ranks) / len(ranks) for ranks in self.ranks[protocol].values()]
        return 100 * sum(found) / len(found)

    def best_protocol(self) -> str:
        """The protocol with the highest R@1."""
        return max(self.ranks, key=self.recall)


class OtherSettingsError(Exception):
    """A record was made by other settings than those of the study."""


class Study:
    """Records below a folder; trainings whose record exists are not repeated.

    Args:
        records: the folder.
        runs: where trainings are kept.
    """

    def __init__(self, records: Path, runs: Path) -> None:
        self.records = records
        self.runs = runs

    def find(self, plan: Plan) -> Record | None:
        """Read the record of a training, if it was made.

        Raises:
            OtherSettingsError: it was made by other settings; it is left as it is.
        """
        file = self.records / plan.name
        if not file.is_file():
            return None
        record = Record(**json.loads(file.read_text()))
        if record.fingerprint != fingerprint(plan.spec()):
            raise OtherSettingsError(
                f"{file} was made by other settings than the study has now ({describe(record.plan['changes'])}, or "
                "the specs in benchmarks/study). Give another folder with --records, or remove that file."
            )
        return record

    def record(self, plan: Plan) -> Record:
        """Return the record of a training, which runs if there is none."""
        found = self.find(plan)
        if found is not None:
            return found
        spec, start = plan.spec(), time.perf_counter()
        run = cbalign.train(spec, runs=self.runs)
        ranks = ranks_of(cbalign.evaluate(run, on=plan.split, bootstrap=0))
        made = Record(asdict(plan), fingerprint(spec), seconds_of(run), run.path.name, ranks)
        file = self.records / plan.name
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(made)) + "\n")
        partial.replace(file)
        scores = ", ".join(f"{protocol} {made.recall(protocol):.1f}" for protocol in ranks)
        minutes = (time.perf_counter() - start) / 60
        print(f"{plan.name}: R@1 on {plan.split}: {scores} ({minutes:.1f} minutes)", flush=True)
        return made


def ranks_of(evaluation: cbalign.Evaluation) -> Ranks:
    """Return the ranks of all queries by protocol and direction."""
    return {
        result.protocol: {name: getattr(result, name).ranks.tolist() for name in DIRECTIONS}
        for result in evaluation.results
    }


def seconds_of(run: cbalign.Run) -> float:
    """Return the time of the steps, by the throughput that was logged."""
    lines = run.history("train")
    rates = sorted(line["samples_per_second"] for line in lines)
    return lines[-1]["step"] * run.spec["train.batch_size"] / rates[len(rates) // 2]


def fingerprint(spec: cbalign.Spec) -> str:
    """Hash the settings that are not defaults, without where the data are: new settings of cbalign change nothing."""
    settings = spec.experiment.model_dump(mode="json", exclude_defaults=True)
    for split in settings["data"].values():
        if isinstance(split, dict):
            split.pop("files", None)
            split.pop("root", None)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def describe(changes: Mapping[str, Any]) -> str:
    """Return settings as a spec's paths and values."""
    return ", ".join(f"{name}: {value}" for name, value in changes.items()) or "the settings of the specs"


def best_trial(records: Sequence[Record]) -> Record:
    """Return the trial with the highest R@1 on validation, by its best protocol."""
    return max(records, key=lambda record: record.recall(record.best_protocol()))
