"""The reference of specs, one page for each section, from the models that check them.

What is said of a setting is what `cbalign explain` says.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from cbalign.cli.explain import facts
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import Choice, Found, Items, Leaf, Setting, settings
from cbalign.parts.section import Effect, Section

FOLDER = "reference/spec"


def pages() -> dict[str, str]:
    """Markdown by path: the top of a spec, and each of its sections."""
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
        "A spec is a YAML file. These are all of its settings; what a spec leaves out has the default. "
        "`cbalign explain PATH` says the same at the terminal, for the version that is installed.",
        "",
        "| section | |",
        "|---|---|",
        *(f"| [`{name}`]({name}.md) | {each.help} |" for name, each in own.items() if not isinstance(each.shape, Leaf)),
        "",
        "Besides, a file may have `extends: BASE` (or a list of bases, the later wins) and `profiles: {NAME: …}`, "
        "overlays that `--profile NAME` applies. Any value may be `${env:NAME}`.",
        "",
        "## Effect classes { #effects }",
        "",
        "Every setting declares what changing it does. `cbalign diff` groups by it, worst first.",
        "",
        "| effect | what a change does |",
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
    """One page; remembers which kinds of sections it has described, so that data.validation can refer to data.train."""

    def __init__(self) -> None:
        self._described: dict[tuple[type[Section], ...], str] = {}

    def section(self, found: Found, level: int) -> Iterator[str]:
        """A section with all that is in it, nested ones after its own settings."""
        shape = found.setting.shape
        choice = shape.item if isinstance(shape, Items) else shape
        assert isinstance(choice, Choice)
        path = _plain(found.path)
        told = [_sentence(found.setting.help)]
        if isinstance(shape, Items):
            told.append("A list of sections.")
        elif shape.optional:
            told.append("Null unless it is set.")
        elif found.setting.required:
            told.append("It has to be set.")
        if found.effect:
            told.append(f"Effect: {found.effect.value}, {found.effect.meaning}.")
        yield from (f"{'#' * level} `{path}` {{ #{path} }}", "", " ".join(told), "")
        kinds = tuple(choice.variants.values())
        if known := self._described.get(kinds):
            yield from (f"Its kinds are those of [`{known}`](#{known}).", "")
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
            Found(f"{prefix}{name}", each, section, variant, effect or each.effect)
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
    default = f"; left out it is `{choice.default}`" if choice.default else ""
    return f"`{choice.discriminator}` says which kind it is: {links}{default}."


def _setting(found: Found, anchor: str) -> list[str]:
    """A setting's name, help and facts."""
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


def _found(name: str, setting: Setting, owner: type[Section]) -> Found:
    return Found(name, setting, owner, None, setting.effect)
