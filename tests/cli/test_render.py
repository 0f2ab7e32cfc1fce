"""Tables on a terminal: readable at its width, and nothing is lost."""

import os
import pty
import re
import subprocess
import sys

import click
import pytest

from cbalign.render.text import as_text, comma_separated, fit_table
from cbalign.runtime.table import Table, unstyled

SENTENCE = "a remark that is much longer than the terminal is wide and has to be wrapped"


def rendered(*blocks, width):
    return unstyled(as_text(blocks, width)).splitlines()


def test_a_pipe_gets_plain_text():
    table = Table.of(("name", "remark"), [("a", SENTENCE)])
    assert as_text([table], None) == table.plain()


def test_long_cells_wrap_at_words():
    lines = rendered(Table.of(("name", "n", "remark"), [("first", "1,024", SENTENCE)], right=(1,)), width=40)
    assert max(map(len, lines)) <= 40
    assert lines[1].split()[:2] == ["first", "1,024"]
    assert " ".join([lines[1][14:], *lines[2:]]).split() == SENTENCE.split()


def test_columns_that_do_not_fit_follow_below_with_the_first_one():
    header = ("metric", *(f"run-{number:06}" for number in range(9)))
    lines = rendered(Table.of(header, [("R@1", *map(str, range(9)))], right=range(1, 10)), width=40)
    assert max(map(len, lines)) <= 40
    heads = [line.split() for line in lines if line.startswith("metric")]
    assert [name for head in heads for name in head[1:]] == list(header[1:])
    assert [line.split()[0] for line in lines if line.startswith("R@1")] == ["R@1"] * len(heads)


def test_a_word_wider_than_the_terminal_is_folded_not_cut():
    path = "/data/" + "x" * 60
    lines = rendered(Table.of(("path",), [(path,)]), width=30)
    assert "".join(lines[1:]) == path


@pytest.mark.parametrize("width", [8, 20, 30, 80])
def test_parts_hold_every_column_once_besides_the_first(width):
    table = Table.of(("a", "bb", "ccc", "dddd"), [("1", "two words", "three", "four more words")])
    parts = list(fit_table(table, width))
    columns = [column.header for part, _ in parts for column in part.columns[1:]]
    assert columns == ["bb", "ccc", "dddd"]


def test_titles_notes_and_styles_are_kept():
    state = click.style("finished", fg="green")
    text = as_text([Table.of(("run", "state"), [("a", state)], title="runs", notes=["one run"])], 80)
    assert "\x1b[32mfinished" in text
    assert [line.rstrip() for line in unstyled(text).splitlines()] == [
        "runs", "  run  state", "  a    finished", "  one run",
    ]  # fmt: skip


def test_commands_stay_on_one_line_to_be_copied():
    command = "  cbalign train spec.yaml --set=train.optimizer.lr=1e-3 --set=train.seed=1"
    assert rendered(f"command\n{command}", width=40) == ["command", command]


def test_a_table_without_rows_prints_its_title_and_notes_alone():
    table = Table.of(("a", "b"), [], title="GRAPH", notes=("Operators are the same.",))
    assert rendered(table, width=80) == table.plain().splitlines() == ["GRAPH", "  Operators are the same."]


def test_comma_separated_values_leave_missing_ones_empty():
    assert comma_separated(("a", "b"), [(None, 0.5), ('say "x", twice', 1)]) == 'a,b\n,0.5\n"say ""x"", twice",1'


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("no_colour", [False, True])
def test_a_terminal_gets_wrapped_lines_and_colour_unless_no_color_is_set(no_colour):
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    environment |= {"COLUMNS": "60", "TERM": "xterm"} | ({"NO_COLOR": "1"} if no_colour else {})
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cbalign", "ls"], stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    text = b""
    try:
        while part := os.read(leader, 65536):
            text += part
    except OSError:  # how Linux says that the terminal was closed
        pass
    os.close(leader)
    assert process.wait() == 0
    lines = text.decode().splitlines()
    assert ("\x1b[" in text.decode()) is not no_colour
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in lines) <= 60
