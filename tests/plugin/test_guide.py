"""The guide shows the files of the example plug-in as they are."""

import re
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent
GUIDE = (PLUGIN.parents[1] / "docs/how-to/extend.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', GUIDE, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_of_the_guide_is_a_file_of_the_plugin(name):
    assert BLOCKS[name].rstrip() == (PLUGIN / name).read_text(encoding="utf-8").rstrip()


def test_the_guide_shows_every_module_of_the_plugin():
    modules = {path.relative_to(PLUGIN).as_posix() for path in PLUGIN.glob("cbalign_example/**/*.py")}
    assert {name for name in modules if not name.endswith("__init__.py")} <= BLOCKS.keys()
