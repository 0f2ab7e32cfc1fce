"""Class names and templates of zero-shot classification, from a spec and a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cbalign.errors import DataError, UsageError

_COLUMNS = ("class", "template", "name")


@dataclass(frozen=True)
class Prompts:
    """The labels of C classes, and the sentences that describe each: one or more texts per class."""

    labels: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, labels: Sequence[str], templates: Sequence[str], table: PromptTable, found: Sequence[str]) -> Prompts:
        """Put class names into templates.

        Args:
            labels: of the spec; empty: those of the table, or else those that were found in the data.
            templates: of the spec.
            table: of the CSV file; its templates are added.
            found: labels in the data, in the order of the classes.

        Raises:
            UsageError: a class has no template.
        """
        classes = tuple(labels or table.classes or found)
        common = (*templates, *table.templates)
        texts = []
        for label in classes:
            own = (*common, *table.own.get(label, ()))
            if not own:
                raise UsageError(
                    f"class {label!r} has no template",
                    remedy="Set templates of the evaluation, such as `a photo of a {}.`, or add a row to its prompts.",
                )
            name = table.names.get(label, label.replace("_", " "))
            texts.append(tuple(template.replace("{}", name) for template in own))
        return cls(classes, tuple(texts))


@dataclass(frozen=True)
class PromptTable:
    """The content of a CSV file of prompts: classes in order, templates of all, and names and templates of some."""

    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_prompts(path: str | Path) -> PromptTable:
    """Read a CSV file with a header and the columns `class`, `template` and `name`, of which one may be missing.

    A row with a class lists it, with its own template if it has one; a row with a template only is for all classes.

    Raises:
        DataError: the file cannot be read, has none of these columns, or a template lacks {}; it names file and line.
    """
    classes: dict[str, None] = {}
    templates: dict[str, None] = {}
    names: dict[str, str] = {}
    own: dict[str, tuple[str, ...]] = {}
    for line, label, template, name in _rows(path):
        if template and "{}" not in template and not label:
            raise DataError(
                f"{path}, line {line}: the template {template!r} has no {{}} in the place of the class",
                remedy="Write {} where the class belongs, or name the class of this sentence in the column class.",
            )
        if label:
            classes[label] = None
            names |= {label: name} if name else {}
            own[label] = (*own.get(label, ()), *([template] if template else []))
        elif template:
            templates[template] = None
    if not classes and not templates:
        raise DataError(f"{path}: neither classes nor templates")
    return PromptTable(tuple(classes), tuple(templates), names, own)


def _rows(path: str | Path) -> Iterator[tuple[int, str, str, str]]:
    """Yield line number, class, template and name of each row; empty where the file has none."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if not {"class", "template"} & set(reader.fieldnames or ()):
                raise DataError(
                    f"{path}: no column class or template in the header ({', '.join(reader.fieldnames or ())})",
                    remedy="Write a header line `class,template`.",
                )
            for row in reader:
                label, template, name = ((row.get(column) or "").strip() for column in _COLUMNS)
                yield reader.line_num, label, template, name
    except csv.Error as error:
        raise DataError(f"{path}: not valid CSV ({error})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason})", remedy="Save the file as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
