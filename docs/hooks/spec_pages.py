"""Generate the reference of specs from the pydantic models, one page per section.

Settings are described as by `cbalign explain`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from cbalign.cli.explain import facts
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import FoundSetting, Setting, settings
from cbalign.experiment.shapes import Choice, Items, Leaf
from cbalign.parts.section import Effect, Section

FOLDER = "reference/spec"


def pages() -> dict[str, str]:
    """Return Markdown by path: the top level of a spec, and each of its sections."""
    made = {f"{FOLDER}/index.md": _top()}
    for name, setting in settings(Experiment).items():
        if not isinstance(setting.shape, Leaf):
            made[f"{FOLDER}/{name}.md"] = "\n".join(_Page().section(_found(name, setting, Experiment), level=1))
    return made


def _top() -> str:
    own = settings(Experiment)
    lines = [
        "# Specs",
        "",
        "A spec is a YAML file. This reference lists all settings; those that a spec leaves out take their defaults. "
        "`cbalign explain PATH` prints the same at the terminal, for the installed version.",
        "",
        "| section | |",
        "|---|---|",
        *(f"| [`{name}`]({name}.md) | {each.help} |" for name, each in own.items() if not isinstance(each.shape, Leaf)),
        "",
        "A file may also have `extends: BASE` (or a list of bases; later ones override earlier ones) and "
        "`profiles: {NAME: …}`, overlays that `--profile NAME` applies. Any value may be `${env:NAME}`.",
        "",
        "## Effect classes { #effects }",
        "",
        "The effect class of a setting says what a change affects. `cbalign diff` groups differences by effect class, "
        "worst first.",
        "",
        "| effect class | meaning of a change |",
        "|---|---|",
        *(f"| {effect.value} | {effect.meaning} |" for effect in Effect),
        "",
        "## At the top of a spec { #top }",
        "",
    ]
    for name, each in own.items():
        if isinstance(each.shape, Leaf):
            lines += _setting(_found(name, each, Experiment), name)
    return "\n".join(lines)


class _Page:
    """One page. Records the kinds of sections it has described, so that data.validation can refer to data.train."""

    def __init__(self) -> None:
        self._described: dict[tuple[type[Section], ...], str] = {}

    def section(self, found: FoundSetting, level: int) -> Iterator[str]:
        """Yield a section: its own settings, then its nested sections."""
        shape = found.setting.shape
        choice = shape.item if isinstance(shape, Items) else shape
        assert isinstance(choice, Choice)
        path = _plain(found.path)
        description = [_sentence(found.setting.help)]
        if isinstance(shape, Items):
            description.append("A list of sections.")
        elif shape.optional:
            description.append("The default is null.")
        elif found.setting.required:
            description.append("Required.")
        if found.effect:
            description.append(f"Effect: {found.effect.value}, {found.effect.meaning}.")
        yield from (f"{'#' * level} `{path}` {{ #{path} }}", "", " ".join(description), "")
        kinds = tuple(choice.variants.values())
        if known := self._described.get(kinds):
            yield from (f"It has the same kinds as [`{known}`](#{known}).", "")
            return
        self._described[kinds] = path
        prefix = f"{found.path}.[]." if isinstance(shape, Items) else f"{found.path}."
        if len(kinds) > 1:
            yield from (_kinds(choice, path), "")
        for variant, section in choice.variants.items():
            if len(kinds) > 1:
                about = (section.__doc__ or "").strip().partition("\n")[0]
                yield from (f"## `{path}` of {choice.discriminator} `{variant}` {{ #{path}.{variant} }}", "", about, "")
            yield from self._settings(prefix, variant if len(kinds) > 1 else None, section, found.effect, choice)

    def _settings(
        self, prefix: str, variant: str | None, section: type[Section], effect: Effect | None, choice: Choice
    ) -> Iterator[str]:
        inside = [
            FoundSetting(f"{prefix}{name}", each, section, variant, effect or each.effect)
            for name, each in settings(section).items()
            if not (variant and name == choice.discriminator)  # the heading says it
        ]
        for each in inside:
            if isinstance(each.setting.shape, Leaf):
                within = f"{variant}." if variant else ""
                yield from _setting(each, f"{_plain(prefix)}{within}{each.setting.name}")
        for each in inside:
            if not isinstance(each.setting.shape, Leaf):
                yield from self.section(each, level=2)


def _kinds(choice: Choice, path: str) -> str:
    links = ", ".join(f"[`{variant}`](#{path}.{variant})" for variant in choice.variants)
    default = f"; the default is `{choice.default}`" if choice.default else ""
    return f"`{choice.discriminator}` selects the kind: {links}{default}."


def _setting(found: FoundSetting, anchor: str) -> list[str]:
    """Return the name, help and facts of a setting."""
    rows = (f"<dt>{name}</dt><dd>{_value(name, text)}</dd>" for name, text in facts(found))
    return [
        f"### `{found.setting.name}` {{ #{anchor} }}",
        "",
        _sentence(found.setting.help),
        "",
        f'<dl class="facts">{"".join(rows)}</dl>',
        "",
    ]


def _value(name: str, text: str) -> str:
    if name == "default" and not text.startswith("none:"):
        return f"<code>{html.escape(text)}</code>"
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _sentence(help: str) -> str:
    return re.sub(r"(?<!`)([\[\]<>*_])(?![^`]*`[^`]*$)", r"\\\1", help) if "`" not in help else help


def _plain(path: str) -> str:
    return path.replace(".[]", "")


def _found(name: str, setting: Setting, owner: type[Section]) -> FoundSetting:
    return FoundSetting(name, setting, owner, None, setting.effect)
