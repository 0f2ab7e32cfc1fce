import pytest

from cbalign.experiment.load import load_experiment

HEAD = "cbalign: 1\nname: small\ndata:\n  train: {source: openmoji, split: train}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def load(folder):
    """Write files into the working directory and load the first one; a whole spec is made of what is written."""

    def load(text="", *overrides, profiles=(), environment=None, check_files=True, **files):
        (folder / "spec.yaml").write_text(text if "extends" in text else HEAD + text)
        for name, content in files.items():
            (folder / f"{name}.yaml").write_text(content)
        return load_experiment(
            "spec.yaml", overrides, profiles=profiles, environment=environment or {}, check_files=check_files
        )

    return load
