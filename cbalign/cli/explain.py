"""`cbalign explain`: describe a setting."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import click

from cbalign.cli import completions, console
from cbalign.cli.options import json_option
from cbalign.runtime.table import Block, Table

if TYPE_CHECKING:
    from cbalign.experiment.fields import FoundSetting, Setting
    from cbalign.experiment.shapes import Choice
    from cbalign.parts.section import Section

_STATES = {
    "on": "on; `weight: 0` switches it off",
    "off": "off, unless the spec names it",
}


@click.command()
@click.argument("path", metavar="[a.b.c]", default="", shell_complete=completions.paths)
@json_option
def explain(path: str, as_json: bool) -> None:
    """Describe a setting: type, range, default, effect and published value.

    For a section, list its settings; without an argument, list the sections.
    """
    from cbalign.experiment.experiment import Experiment
    from cbalign.experiment.fields import find_settings
    from cbalign.experiment.load import ROOT

    found = find_settings(Experiment, path) if path else []
    if path and not found:
        _unknown(path)
    if as_json:
        console.document({"settings": [_data(each) for each in found or _inside(ROOT, "")]})
    elif not found:
        console.blocks(_listing(ROOT, ""))
    else:
        console.blocks(*(block for each in found for block in _blocks(each)))


def _unknown(path: str) -> None:
    from cbalign.errors import UsageError
    from cbalign.experiment.experiment import Experiment
    from cbalign.experiment.fields import every
    from cbalign.experiment.suggestions import SYNONYMS, did_you_mean

    name = path.rsplit(".", 1)[-1]
    paths = list(dict.fromkeys(each.path.replace(".[]", "") for each in every(Experiment)))
    same_name = [other for other in paths if other.rsplit(".", 1)[-1] == name]
    if same_name:
        remedy = f"Settings of this name: {', '.join(same_name)}."
    elif name in SYNONYMS:
        remedy = f"cbalign calls it {SYNONYMS[name]}."
    else:
        near = did_you_mean(path, paths) or did_you_mean(name, {other.rsplit(".", 1)[-1] for other in paths})
        remedy = near or "`cbalign explain` lists the sections."
    raise UsageError(f"Unknown setting {path!r}.", remedy=remedy)


def _title(found: FoundSetting) -> str:
    from cbalign.experiment.shapes import Leaf

    path = found.path.replace(".[]", "")
    return f"{path} ({found.variant})" if found.variant and isinstance(found.setting.shape, Leaf) else path


def facts(found: FoundSetting) -> list[tuple[str, str]]:
    """List facts of a setting except its help, by name; an empty name continues the previous fact."""
    from cbalign.experiment.shapes import Choice, Items, Leaf
    from cbalign.parts.origin import origin_of

    setting = found.setting
    known: list[tuple[str, str]] = []
    match setting.shape:
        case Leaf():
            known.append(("type", setting.shape.wording()))
        case Choice() if len(setting.shape.variants) > 1:
            known.append(("kinds", f"{setting.shape.discriminator}: {', '.join(setting.shape.variants)}"))
        case Items():
            known.append(("type", "a list of sections"))
    if setting.required:
        known.append(("default", "none: the setting is required"))
    elif isinstance(setting.shape, Leaf):
        known.append(("default", json.dumps(setting.default, ensure_ascii=False)))
    if (state := _state(setting)) is not None:
        known.append(("by default", _STATES[state]))
    if found.effect:
        known.append(("effect", f"{found.effect.value}: {found.effect.meaning}"))
    if setting.switch:
        known.append(("", f"{setting.switch.value} if it changes from or to 0"))
    if setting.paper:
        known.append(("published", setting.paper))
    origins = {origin for part in _parts(found) if (origin := origin_of(part)) is not None and not origin.is_own}
    known += [("from", str(origin)) for origin in sorted(origins, key=str)]
    return known


def _parts(found: FoundSetting) -> tuple[type[Section], ...]:
    """The sections that a setting belongs to or, if it is a section, that it can be."""
    from cbalign.experiment.shapes import Choice

    shape = found.setting.shape
    return tuple(shape.variants.values()) if isinstance(shape, Choice) else (found.owner,)


def _state(setting: Setting) -> Literal["on", "off"] | None:
    """Whether a section that can be switched off is on by default; None for other settings."""
    from cbalign.experiment.shapes import Choice

    sections = setting.shape.variants.values() if isinstance(setting.shape, Choice) else ()
    by_default = [section.by_default for section in sections if hasattr(section, "by_default")]
    return None if not by_default else "on" if all(by_default) else "off"


def _blocks(found: FoundSetting) -> list[Block]:
    from cbalign.experiment.shapes import Choice, Items

    setting = found.setting
    title = f"{click.style(_title(found), bold=True)}\n{setting.help}"
    rows = [(name, value) for name, value in facts(found)]
    described: Block = Table.headless(rows, title=title) if rows else title
    inner = setting.shape.item if isinstance(setting.shape, Items) else setting.shape
    return [described, _listing(inner, f"{found.path}.")] if isinstance(inner, Choice) else [described]


def _inside(choice: Choice, prefix: str) -> list[FoundSetting]:
    from cbalign.experiment.fields import FoundSetting, settings

    several = len(choice.variants) > 1
    return [
        FoundSetting(f"{prefix}{name}", setting, section, variant if several else None, setting.effect)
        for variant, section in choice.variants.items()
        for name, setting in settings(section).items()
    ]


def _listing(choice: Choice, prefix: str) -> Table:
    from cbalign.experiment.shapes import Leaf

    rows = []
    for each in _inside(choice, prefix):
        leaf = isinstance(each.setting.shape, Leaf)
        plain = json.dumps(each.setting.default, ensure_ascii=False) if leaf and not each.setting.required else ""
        default = plain or _state(each.setting) or ""
        rows.append((_title(each), default, each.setting.help))
    return Table.of(("SETTING", "DEFAULT", "MEANING"), rows)


def _data(found: FoundSetting) -> dict[str, object]:
    from cbalign.experiment.shapes import Leaf
    from cbalign.parts.origin import origin_of

    setting = found.setting
    leaf = setting.shape if isinstance(setting.shape, Leaf) else None
    return {
        "path": found.path.replace(".[]", ""),
        "kind": found.variant,
        "type": leaf.wording() if leaf else "section",
        "choices": list(leaf.choices or (leaf.item.choices if leaf.item else ())) if leaf else None,
        "required": setting.required,
        "default": setting.default,
        "effect": found.effect.value if found.effect else None,
        "published": setting.paper,
        "from": sorted({str(origin) for part in _parts(found) if (origin := origin_of(part)) is not None}),
        "help": setting.help,
    }
