"""Pairs from Python in the place of the data that a spec names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cbalign.api.specs import Spec, SpecSource, spec
from cbalign.errors import UsageError

if TYPE_CHECKING:
    from cbalign.api.pairs import Pairs


def with_data(source: SpecSource, changes: Mapping[str, Any], data: Mapping[str, Pairs | None]) -> Spec:
    """The spec with data given from Python as the sources of its splits.

    Args:
        source, changes: see `cbalign.spec`.
        data: pairs by split; None keeps what the spec names.
    """
    given = {split: pairs for split, pairs in data.items() if pairs is not None}
    if isinstance(source, Spec) and not given and not changes:
        return source
    return spec(source, **{**changes, **{f"data.{split}": give_pairs(split, pairs) for split, pairs in given.items()}})


def foreign_validation(given: Spec) -> str | None:
    """A warning if the validation data of a spec come from a file or recipe, although the training data are given."""
    section = given.experiment.data.validation
    place = given.loaded.origins["data.validation.source"].place if section is not None else None
    if section is None or section.from_python or place is None or place.source.name in ("dict", "--set"):
        return None
    return (
        f"the training is measured on the validation data of the spec ({section.source}, set in {place}), "
        "not on yours: pass `validation=…`"
    )


def give_again(resolved: Spec, data: Mapping[str, Pairs | None]) -> None:
    """Make the pairs available that a spec of a run names, and check that they are the same.

    Raises:
        UsageError: the run was not trained on pairs from Python, or on others.
    """
    for split, pairs in data.items():
        if pairs is None:
            continue
        section = getattr(resolved.experiment.data, split)
        wanted = None if section is None else section.model_dump().get("fingerprint")
        if wanted is None:
            raise UsageError(f"data.{split} of this run is not data given from Python; leave it out")
        if give_pairs(split, pairs)["fingerprint"] != wanted:
            raise UsageError(f"the pairs for data.{split} differ from those that the run was trained on")


def give_pairs(split: str, pairs: Pairs) -> dict[str, str]:
    """Register pairs in this process; returns the section that names them."""
    from cbalign.api.pairs import pairs_from
    from cbalign.data.memory import give
    from cbalign.data.source import fingerprint

    found = pairs_from(pairs, split)
    digest = fingerprint(found)
    give(split, found, digest)
    return {"source": "memory", "key": split, "fingerprint": digest}
