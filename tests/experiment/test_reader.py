"""What YAML means in a spec: the core schema of YAML 1.2, of which PyYAML knows nothing."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbalign.experiment.diagnostics import InvalidSpec
from cbalign.experiment.document import SourceText, plain_data
from cbalign.experiment.reader import read_node


def read(text):
    node = read_node(SourceText("spec.yaml", text))
    return None if node is None else plain_data(node)


# Examples 10.2 to 10.9 of the YAML 1.2.2 specification, and what YAML 1.1 makes something else of.
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1E4", 1e4), ("-.5", -0.5), ("+12.", 12.0), ("0.", 0.0), ("12e03", 12e3),
        ("12", 12), ("-19", -19), ("+3", 3), ("012", 12), ("0o14", 12), ("0xC", 12),
        ("true", True), ("True", True), ("FALSE", False),
        ("null", None), ("Null", None), ("~", None), ("", None),
        ("no", "no"), ("Yes", "Yes"), ("on", "on"), ("OFF", "OFF"), ("y", "y"),
        ("12:30", "12:30"), ("190:20:30", "190:20:30"), ("2001-12-14", "2001-12-14"),
        ("1_000", "1_000"), ("0b1010", "0b1010"), ("0o8", "0o8"), ("1e", "1e"), (".", "."), ("=", "="),
        ("tRUE", "tRUE"), ("nULL", "nULL"), ("1.2.3", "1.2.3"), ("5 %", "5 %"), ("1,000", "1,000"),
        ("'1e-4'", "1e-4"), ('"true"', "true"), ("''", ""),
    ],
)  # fmt: skip
def test_plain_scalars_mean_what_the_core_schema_says(text, value):
    data = read(f"key: {text}\n")
    assert data == {"key": value}
    assert type(data["key"]) is type(value)


def test_every_node_knows_its_line_and_column():
    root = read_node(SourceText("a.yaml", "# first\ntrain:\n  - {lr: 1e-4, 'b': [x]}\n"))
    item = root.get("train").items[0]
    assert str(item.entries["lr"].key) == "a.yaml:3:6"
    assert str(item.get("lr").place) == "a.yaml:3:10"
    assert item.get("lr").place.length == 4
    assert str(item.get("b").items[0].place) == "a.yaml:3:22"


# From the YAML test suite (yaml/yaml-test-suite), each with the data it lists.
@pytest.mark.parametrize(
    ("text", "data"),
    [
        pytest.param("a: \"double\n  quotes\" # comment\n", {"a": "double quotes"}, id="multi-line"),
        pytest.param("b: plain\n value\n", {"b": "plain value"}, id="multi-line plain"),
        pytest.param("key: |\n  literal\n   text\n\n", {"key": "literal\n text\n"}, id="literal"),
        pytest.param("key: >-\n  folded\n  text\n", {"key": "folded text"}, id="folded"),
        pytest.param("? a\n? b\nc:\n", {"a": None, "b": None, "c": None}, id="set"),
        pytest.param("? |\n  block key\n: - one\n  - two\n", {"block key\n": ["one", "two"]}, id="block key"),
        pytest.param("a: &anchor\n  b: 1\nc: *anchor\n", {"a": {"b": 1}, "c": {"b": 1}}, id="alias"),
        pytest.param("- - - x\n  - y\n", [[["x"], "y"]], id="nested lists"),
        pytest.param("{a: [b, c], d, ? e : f}", {"a": ["b", "c"], "d": None, "e": "f"}, id="flow"),
        pytest.param("---\na: 1\n...\n", {"a": 1}, id="document markers"),
        pytest.param("%YAML 1.2\n---\na: 1\n", {"a": 1}, id="directive"),
        pytest.param("a: 'it''s'\nb: \"\\x41\\u263A\"\n", {"a": "it's", "b": "A☺"}, id="escapes"),
        pytest.param("a:\r\n  b: 1\r\n", {"a": {"b": 1}}, id="windows line ends"),
        pytest.param("\ufeffa: 1\n", {"a": 1}, id="byte order mark"),
        pytest.param("a: b#c #d\n", {"a": "b#c"}, id="hash in text"),
        pytest.param("a:: b\n", {"a:": "b"}, id="colon at the end of a key"),
        pytest.param("http://x: {y: http://z}\n", {"http://x": {"y": "http://z"}}, id="addresses"),
    ],
)  # fmt: skip
def test_documents_of_the_test_suite_are_read_as_it_says(text, data):
    assert read(text) == data


@pytest.mark.parametrize(
    "text",
    ["a: b: c\n", "a:\n\t- b\n", "[a, b", "- a\nb: c\n", "a: 'b\n", "a: *\n", "&a &b c\n", "a: ]\n", "a: @b\n", "%",
     "key: [a\nb: c]\n- d\n", "%YAML 3.0\n---\na\n", "a: !<> b\n", "a: |x\n b\n", "? [a]: b\n: - c\n  d\n"],
)  # fmt: skip
def test_what_is_not_yaml_is_refused_with_a_place(text):
    with pytest.raises(InvalidSpec) as caught:
        read(text)
    assert all(mistake.place is not None for mistake in caught.value.diagnostics)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_but_never_crashes(text):
    with suppress(InvalidSpec):
        read(text)


@given(st.text(alphabet="ab:-?[]{}&*!|>'\"%@`#, \n\t0123456789.e+~", max_size=40))
def test_any_mess_of_indicators_is_read_or_refused_but_never_crashes(text):
    with suppress(InvalidSpec):
        read(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(_JSON)
def test_json_is_yaml(data):
    assert read(json.dumps(data)) == data
