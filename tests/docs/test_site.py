"""The built documentation: complete, and readable without a network."""

import html
import json
import re
from pathlib import Path

import click
import pytest

from cbalign.cli import VERBS, main
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import every
from cbalign.experiment.shapes import Leaf

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs/notebooks").glob("*.ipynb"))


def test_every_setting_is_described(site):
    pages = {path.stem: path.read_text("utf-8") for path in (site / "reference/spec").glob("*.html")}
    for found in every(Experiment):
        if isinstance(found.setting.shape, Leaf) and len(found.setting.shape.choices) != 1:
            top = found.path.partition(".")[0]
            page = pages.get(top, pages["index"])
            assert f"<code>{found.setting.name}</code>" in page, found.path
            assert _words(found.setting.help) in _words(_text(page)), found.path


def _text(page):
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def _words(text):
    return " ".join(text.replace("`", "").split())


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_command_and_option_is_described(site, verb):
    page = (site / f"reference/commands/{verb.group.lower()}.html").read_text("utf-8")
    context = click.Context(main, info_name="cbalign")
    command = main.get_command(context, verb.name)
    commands = [command, *command.commands.values()] if isinstance(command, click.Group) else [command]
    for each in commands:
        for option in each.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert all(html.escape(name) in page for name in option.opts), (each.name, option.name)
    assert f'id="{verb.name}"' in page
    assert "\b" not in page, "a mark of Click's that is to be understood, not shown"


def test_nothing_is_loaded_from_elsewhere(site):
    for path in site.rglob("*.html"):
        page = path.read_text("utf-8")
        loaded = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"((?:https?:)?//[^\"]+)", page)
        assert not loaded, path
    for path in site.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(?:https?:)?//", path.read_text("utf-8")), path


def test_equations_are_drawn_by_the_browser_alone(site):
    method = (site / "method.html").read_text("utf-8")
    assert method.count("<math") > 30
    for path in site.rglob("*.html"):
        page = path.read_text("utf-8")
        assert "arithmatex" not in page, path
        assert "$$" not in page, path


def test_every_notebook_is_a_page_that_can_be_downloaded(site):
    for path in NOTEBOOKS:
        page = (site / f"notebooks/{path.stem}.html").read_text("utf-8")
        assert (site / f"notebooks/{path.name}").is_file()
        assert f'href="{path.name}"' in page
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                assert _words("".join(cell["source"])) in _words(_text(page))
