"""Specs in Python: from a file, a recipe or a dict, with changes."""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, TypeAlias

from cbalign.api.arguments import listed
from cbalign.errors import SpecError
from cbalign.experiment.document import SourceText
from cbalign.experiment.dump import as_data, dump_yaml, inline, write_yaml
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import leaves
from cbalign.experiment.files import DISK, Files
from cbalign.experiment.load import LoadedExperiment, load_experiment

SpecSource: TypeAlias = "str | Path | Mapping[str, Any] | Spec"
"""A file, the name of a recipe (`quickstart`, `albef`; `cbalign ls` lists them), a dict with the content of a spec
file, or another `Spec`. A dict may `extend` a recipe, and need not have `data` if pairs are passed to
`cbalign.train`."""

_DICT = Path("<dict>")


@dataclass(frozen=True)
class Spec:
    """One experiment, checked and complete. Make it with `cbalign.spec`.

    `spec["train.optimizer.lr"]` is the value of a setting and `spec["evaluate.0.on"]` that of the first item of a list;
    `spec["train.optimizer"]` is a section. `"train.duration" in spec`, iteration, `len(spec)`, `spec.keys()` and
    `dict(spec)` are over the dotted paths of all settings.

    Attributes:
        source: what it was made from.
        overrides: changes of the source, as texts of `--set`.
        profiles: names of the profiles that were applied.
        check_files: whether the files that it names had to exist.
    """

    source: str | Path | Mapping[str, Any]
    loaded: LoadedExperiment = field(repr=False)
    overrides: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    check_files: bool = True

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.experiment.name

    @property
    def experiment(self) -> Experiment:
        """The validated sections, as typed attributes: `spec.experiment.train.optimizer.lr`."""
        return self.loaded.experiment

    def __getitem__(self, path: str) -> Any:
        """The value at a dotted path, such as `train.optimizer.lr`.

        Raises:
            KeyError: the spec has no such setting.
        """
        value: Any = self.experiment
        for step in path.split("."):
            try:
                value = value[int(step)] if step.isdecimal() else _child(value, step)
            except (KeyError, IndexError, TypeError):
                raise KeyError(path) from None
        return value

    def keys(self) -> KeysView[str]:
        """The dotted paths of all settings, in the order of the reference."""
        return dict.fromkeys(path for path, _, _ in leaves(self.experiment)).keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, path: object) -> bool:
        try:
            return isinstance(path, str) and (self[path], True)[1]
        except KeyError:
            return False

    def origin(self, path: str) -> str:
        """Where the value at a dotted path was set: `default`, `base/tiny.yaml:12` or `--set`.

        Raises:
            KeyError: the spec has no such value.
        """
        return str(self.loaded.origins[path])

    def with_(self, **changes: Any) -> Spec:
        """The spec with other values, given by dotted paths: `spec.with_(**{"train.optimizer.lr": 1e-3})`.

        Raises:
            SpecError: the changed spec is not valid.
        """
        return spec(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Every value as plain data, defaults included."""
        return as_data(self.experiment)

    def to_yaml(self) -> str:
        """Every value as a spec file, defaults included."""
        return dump_yaml(self.experiment)

    def save(self, path: str | Path) -> Path:
        """Write the resolved spec to a file and return its path."""
        target = Path(path)
        target.write_text(self.to_yaml(), encoding="utf-8")
        return target

    def _set_values(self) -> list[tuple[str, object, str]]:
        origins = self.loaded.origins
        values = ((path, value, str(origins.get(path, "default"))) for path, value, _ in leaves(self.experiment))
        return [(path, value, origin) for path, value, origin in values if origin != "default"]

    def __repr__(self) -> str:
        lines = [f"  {path}: {inline(_plain(value))}" for path, value, _ in self._set_values()]
        return "\n".join([f"Spec {self.name!r}, values that are not defaults:", *lines])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td><code>{escape(path)}</code></td><td>{escape(inline(_plain(value)))}</td>"
            f"<td>{escape(origin)}</td></tr>"
            for path, value, origin in self._set_values()
        )
        head = "<tr><th>setting</th><th>value</th><th>set in</th></tr>"
        return f"<table><caption>Spec {escape(self.name)}, values that are not defaults</caption>{head}{rows}</table>"


def spec(
    source: SpecSource,
    /,
    *,
    overrides: str | Sequence[str] = (),
    profiles: str | Sequence[str] = (),
    check_files: bool = True,
    **changes: Any,
) -> Spec:
    """Load and check a spec.

    The names of all settings are in [the reference of specs](spec/index.md). An item of a list is named by its number
    from 0: `evaluate.0.top_k`.

    Args:
        source: a file, the name of a recipe (`quickstart`), a dict with the content of a spec file, or a `Spec`.
        overrides: changes as texts of `--set`: `train.duration=2 epochs`, `+list=item`, `~path`.
        profiles: names of profiles of the spec, applied before the changes.
        check_files: whether the files and folders that the spec names must exist.
        **changes: values by dotted path, `**{"train.duration": "2 epochs"}`; top-level settings also by keyword.

    Raises:
        SpecError: the spec is not valid; the message lists every mistake with its place.

    Examples:
        >>> spec = cbalign.spec("quickstart", **{"train.duration": "2 epochs", "train.optimizer.lr": 5e-4})
        >>> spec["train.duration"]
        '2 epochs'
    """
    words = (*listed(overrides), *(f"{path}={_text(value)}" for path, value in changes.items()))
    if isinstance(source, Spec):
        words = (*_not_replaced(source.overrides, changes), *words)
        profiles = (*source.profiles, *listed(profiles))
        check_files, source = check_files and source.check_files, source.source
    profiles = listed(profiles)
    if not isinstance(source, str | Path | Mapping):
        raise SpecError(
            f"{type(source).__name__} is not a spec",
            remedy="Pass a file, the name of a recipe, a dict with the content of a spec file, or a Spec.",
        )
    files = _DictFiles(source) if isinstance(source, Mapping) else DISK
    path = _DICT if isinstance(source, Mapping) else source
    loaded = load_experiment(path, words, profiles=profiles, check_files=check_files, files=files)
    return Spec(source, loaded, words, profiles, check_files)


class _DictFiles(Files):
    """The disk, and a dict in the place of one file."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._text = write_yaml(_plain(content))

    def read(self, path: Path) -> SourceText:
        """The dict as YAML, or a file."""
        if path.name != _DICT.name:
            return super().read(path)
        return SourceText("dict", self._text, Path.cwd() / _DICT)

    def exists(self, path: Path) -> bool:
        """Whether a file exists; the dict does."""
        return path.name == _DICT.name or super().exists(path)

    def name(self, path: Path) -> str:
        """What messages call a file."""
        return "dict" if path.name == _DICT.name else super().name(path)


def _not_replaced(overrides: Sequence[str], changes: Mapping[str, Any]) -> list[str]:
    """The earlier changes of settings that the new changes do not set as a whole."""
    paths = [word.partition("=")[0] for word in overrides]
    return [
        word
        for word, path in zip(overrides, paths)
        if not any(path == new or path.startswith(f"{new}.") for new in changes)
    ]


def _child(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return value[name]
    if name not in getattr(type(value), "model_fields", {}):
        raise KeyError(name)
    return getattr(value, name)


def _text(value: Any) -> str:
    return inline(_plain(value))


def _plain(value: Any) -> Any:
    """Paths, tuples and sections as the plain data that YAML holds."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and hasattr(value, "dtype") and not getattr(value, "ndim", 0):
        return value.item()  # a number of NumPy or torch
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
