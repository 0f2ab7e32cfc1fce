"""Look up settings by dotted paths that the user typed."""

from __future__ import annotations

from cbalign.errors import UsageError
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import FoundSetting, find_settings
from cbalign.experiment.suggestions import meant_setting


def settings_at(path: str) -> list[FoundSetting]:
    """Return the settings at `path`; several if variants of a section share it.

    Raises:
        UsageError: there is no such setting.
    """
    found = find_settings(Experiment, path)
    if not found:
        above, _, name = path.rpartition(".")
        raise UsageError(f"There is no setting `{path}`.", remedy=meant_setting(Experiment, Experiment, above, name))
    return found
