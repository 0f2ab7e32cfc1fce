from __future__ import annotations

import pytest

from cbalign.parts.registry import TASKS, registry
from cbalign.runtime.task import task_runtime

SECTIONS = {name: part.section for name, part in registry().of(TASKS).items() if part.origin.is_own}


@pytest.mark.parametrize("name", SECTIONS)
def test_a_spec_may_list_exactly_the_graphs_of_the_runtime(name: str) -> None:
    section = SECTIONS[name](kind=name)
    assert section.graphs == tuple(task_runtime(section).signatures)
