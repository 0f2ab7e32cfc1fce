"""Tables and JSON documents as text."""

import json
import math

from cbalign.runtime.document import json_document, json_line
from cbalign.runtime.table import Column, Table, markdown_text, plain_text

TABLE = Table.of(
    ("name", Column("p50", right=True, unit="ms")), [("a", "9.5"), ("\x1b[32mbold\x1b[0m", "10.0")], notes=("a note",)
)


def test_plain_text_is_aligned_whatever_its_styles():
    assert TABLE.plain().splitlines() == ["name  p50 ms", "a        9.5", "\x1b[32mbold\x1b[0m    10.0", "a note"]


def test_a_title_indents_what_is_below_it():
    table = Table.headless([("a", "1"), ("bc", "23")], right=(1,), title="sizes", notes=("in MB",))
    assert table.plain().splitlines() == ["sizes", "  a    1", "  bc  23", "  in MB"]


def test_a_header_of_several_lines_stands_at_the_bottom():
    table = Table.of(("setting", Column("dual\nr1", right=True)), [("x", "35.0")])
    assert table.plain().splitlines() == ["         dual", "setting    r1", "x        35.0"]


def test_a_ruled_table_has_a_line_below_its_header():
    table = Table.of(("a", "b"), [("1", "2")], ruled=True)
    assert table.plain().splitlines() == ["a  b", "─  ─", "1  2"]


def test_markdown_escapes_bars_and_drops_styles():
    table = Table.of(("a|b", Column("n", right=True)), [("\x1b[31mx\ny\x1b[0m", "1")], title="t")
    assert table.markdown() == "**t**\n\n| a\\|b | n |\n| --- | ---: |\n| x y | 1 |"


def test_blocks_are_separated_by_an_empty_line():
    assert plain_text(["first", TABLE]) == f"first\n\n{TABLE.plain()}"
    assert markdown_text(["\x1b[1mfirst\x1b[0m", TABLE]) == f"first\n\n{TABLE.markdown()}"


def test_a_document_is_indented_unicode_in_its_own_order():
    assert json_document({"b": "ü", "a": [1]}) == '{\n  "b": "ü",\n  "a": [\n    1\n  ]\n}\n'
    assert json_line({"b": "ü", "a": [1]}) == '{"b": "ü", "a": [1]}\n'


def test_numbers_that_json_lacks_become_null():
    written = json_document({"rows": [{"loss": math.nan, "rate": 0.5}], "limits": (math.inf, -math.inf, 1)})
    assert json.loads(written, parse_constant=lambda name: f"not JSON: {name}") == {
        "rows": [{"loss": None, "rate": 0.5}],
        "limits": [None, None, 1],
    }
