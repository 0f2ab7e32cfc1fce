"""Compare the settings and data of a run that resumes with those that its manifest recorded."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence

from cbalign.engine.files import shown_path
from cbalign.engine.manifest import AcceptedChanges, Manifest
from cbalign.engine.run import RunFolder
from cbalign.errors import UsageError
from cbalign.experiment.dump import counted_settings, experiment_fingerprint, inline
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import find_settings

FINGERPRINTS, PICTURES = "fingerprints", "pictures"
"""Facts of a manifest: by split, the hash of texts and names of all items, and that of the files of some images."""

_SHOWN = 12  # changes in a message


def changed_settings(manifest: Manifest, experiment: Experiment) -> list[str]:
    """Return a line for each setting that differs from the manifest, empty if the fingerprints agree.

    Args:
        manifest: of the run; those of older versions have the fingerprint only.
        experiment: as its resolved.yaml has it now.
    """
    if experiment_fingerprint(experiment) == manifest.spec_fingerprint:
        return []
    before, now = manifest.settings, json.loads(json.dumps(counted_settings(experiment)))
    if not before:
        return ["resolved.yaml has other settings than when the run began"]
    names = [name for name in {**before, **now} if not _same(name, before.get(name, _ABSENT), now.get(name, _ABSENT))]
    return [f"{name}: {_value(before, name)} → {_value(now, name)}" for name in names]


def changed_data(manifest: Manifest, facts: Mapping[str, object]) -> list[str]:
    """Return a line for each split whose items or images differ from the manifest.

    Args:
        manifest: of the run; fingerprints that it lacks are not compared.
        facts: of the training that resumes.
    """
    told = {FINGERPRINTS: "the texts, the names of images or their order", PICTURES: "the content of image files"}
    changes = []
    for fact, what in told.items():
        before, now = manifest.facts.get(fact), facts.get(fact)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            changes += [f"data.{split}: {what}" for split in before if split in now and before[split] != now[split]]
    return changes


def accept_changes(
    run: RunFolder,
    experiment: Experiment,
    facts: Mapping[str, object],
    changes: Sequence[str],
    *,
    accept: bool,
) -> AcceptedChanges | None:
    """Return the changes for the manifest; None if there are none.

    Args:
        run: the run.
        experiment: its settings now.
        facts: of the training that resumes.
        changes: what changed.
        accept: whether the user accepts changes.

    Raises:
        UsageError: there are changes that the user did not accept.
    """
    if not changes:
        return None
    if not accept:
        folder = shown_path(run.folder)
        more = [f"  and {len(changes) - _SHOWN} more"] if len(changes) > _SHOWN else []
        lines = [*(f"  {change}" for change in changes[:_SHOWN]), *more]
        raise UsageError(
            f"{folder} cannot resume: it changed since the training began.\n" + "\n".join(lines),
            remedy="Restore what changed; or train on with it, which the manifest will record: "
            f"cbalign train {shlex.quote(str(folder))} --accept-changes",
        )
    kept = {fact: facts[fact] for fact in (FINGERPRINTS, PICTURES) if fact in facts}
    return AcceptedChanges(tuple(changes), experiment_fingerprint(experiment), counted_settings(experiment), kept)


_ABSENT = object()


def _same(name: str, value: object, other: object) -> bool:
    return value == other or any(found.setting.same(value, other) for found in find_settings(Experiment, name))


def _value(settings: Mapping[str, object], name: str) -> str:
    return inline(settings[name]) if name in settings else "–"  # type: ignore[arg-type]  # JSON
