"""What the documentation prints can be typed: commands parse, specs are valid."""

import re

import click
import pytest

from cbalign.cli import main
from cbalign.errors import CbalignError
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import find_settings
from cbalign.experiment.load import ROOT as LANGUAGE
from cbalign.experiment.load import load_experiment
from cbalign.experiment.overrides import parse_override
from tests.docs.excerpts import PAGES, ROOT, commands, fences

# The guide to parts needs the example plug-in, with which tests/plugin runs it.
CHECKED = [page for page in PAGES if page.name != "extend.md"]
COMMANDS = list(dict.fromkeys(command for page in CHECKED for command in commands(page)))
SPECS = [fence for page in CHECKED for fence in fences(page) if fence.language == "yaml"]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_every_command_has_real_verbs_options_and_settings(command):
    context = click.Context(main, info_name="cbalign", **main.context_settings)
    words, verb = list(command.words), main
    while isinstance(verb, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        inner = verb.get_command(context, name)
        assert inner is not None, f"there is no verb {name}"
        context, verb = click.Context(inner, info_name=name, parent=context), inner
    if not command.complete:
        verb.make_parser(context).parse_args(words)
        return
    try:
        parsed = verb.make_context(verb.name, words, parent=context.parent)
    except click.exceptions.Exit:  # --help
        return
    for change in parsed.params.get("overrides") or ():
        parse_override(change, LANGUAGE)
    for setting in (*(parsed.params.get("over") or ()), *(parsed.params.get("paired") or ())):
        assert find_settings(Experiment, setting.partition("=")[0])
    if verb.name == "explain":
        assert find_settings(Experiment, parsed.params["path"]) or not parsed.params["path"]


def test_commands_are_found():
    assert len(COMMANDS) > 40
    assert sum(command.complete for command in COMMANDS) > 30


@pytest.mark.parametrize("fence", SPECS, ids=lambda fence: f"{fence.page}: {fence.text.splitlines()[0]}")
def test_every_spec_is_valid(fence, tmp_path):
    if fence.title and fence.title.endswith(".yml"):
        pytest.skip("a configuration of something else")
    for other in fences(ROOT / fence.page):
        if other.language == "yaml" and other.title:
            (tmp_path / other.title).write_text(other.text, "utf-8")
    begun = re.search(r"^(extends|cbalign):", fence.text, re.MULTILINE)
    path = tmp_path / "excerpt.yaml"
    path.write_text(fence.text if begun else f"extends: quickstart\n{fence.text}", "utf-8")
    try:
        loaded = load_experiment(path, check_files=False, environment={})
        for profile in loaded.profiles:
            load_experiment(path, profiles=[profile], check_files=False, environment={})
    except CbalignError as error:
        pytest.fail(str(error))


def test_the_table_of_exit_codes_is_complete():
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "docs/reference/exit-codes.md").read_text("utf-8"), re.MULTILINE)
    assert {int(row) for row in rows} == {0, 130, 141} | {error.exit_code for error in _errors(CbalignError)}


def _errors(error):
    yield error
    for below in error.__subclasses__():
        yield from _errors(below)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "AGENTS.md"])
def test_files_that_contributors_are_sent_to_are_there(page):
    named = re.findall(r"`((?:cbalign|tests|docs|exports|schema)/[\w./]*)`", (ROOT / page).read_text("utf-8"))
    assert named
    assert not [path for path in named if "NAME" not in path and not (ROOT / path).exists()]
