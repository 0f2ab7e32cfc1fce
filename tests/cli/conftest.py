import json

import pytest


@pytest.fixture(scope="session")
def user_caches(tmp_path_factory):
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(autouse=True)
def built_in_this_process(monkeypatch, user_caches):
    """Models whose tensors `diff` lists are built here, not by another process that has to import torch first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(user_caches))

    def ask(asked, count):
        from cbalign.lab.plan.tensors import answer

        return json.loads(json.dumps(answer(json.loads(asked))))

    monkeypatch.setattr("cbalign.lab.comparison.tensors._ask", ask)
