"""Runs and bundles record the distributions that they need, and say which is missing."""

from __future__ import annotations

import json

from cbalign.engine.run import open_run
from tests.exporting.conftest import write_experiment

from .conftest import Site


def test_runs_and_bundles_record_their_plugins_and_say_which_is_missing(site: Site) -> None:
    site.install()
    spec = write_experiment(site.work)
    site.write(
        spec.read_text() + "log: {to: [lines]}\nexport: {precisions: [plain], targets: [listing]}\n", "tiny.yaml"
    )
    trained = site.run("train", "tiny.yaml")
    assert trained.returncode == 0, trained.stderr
    run = open_run(site.work / "runs" / "latest")
    manifest = json.loads(run.manifest.read_text())
    assert manifest["facts"]["plugins"] == {"cbalign-fake": "1.2"}
    assert manifest["attempts"][0]["versions"]["cbalign-fake"] == "1.2"
    assert "requires: [cbalign-fake>=1.2]" in run.resolved.read_text()
    assert run.spec.read_text() == (site.work / "tiny.yaml").read_text()
    lines = (run.folder / "lines.txt").read_text().splitlines()
    assert lines[0] == f"open {manifest['id']} 0 tiny"
    assert len(lines) == 1 + len(run.metrics.read_text().splitlines())
    assert not run.tensorboard.exists()

    lost = site.run("export", run.folder, installed=False)
    assert lost.returncode == 2
    assert "this spec needs cbalign-fake>=1.2, which is not installed" in lost.stderr
    exported = site.run("export", run.folder, "--output", "bundle")
    assert exported.returncode == 0, exported.stderr
    assert "manifest.json" in (site.work / "bundle-listing" / "files.txt").read_text()
    assert json.loads((site.work / "bundle" / "manifest.json").read_text())["plugins"] == {"cbalign-fake": "1.2"}
    card = (site.work / "bundle" / "README.md").read_text()
    assert "| plain | tests |" in card

    verified = site.run("verify", "bundle")
    assert verified.returncode == 0, verified.stderr
    unverified = site.run("verify", "bundle", installed=False)
    assert unverified.returncode == 3
    assert "the precision plain is not installed; the bundle was made with cbalign-fake==1.2" in unverified.stderr, (
        unverified.stderr
    )
    assert "pip install cbalign-fake==1.2" in unverified.stderr
    lost = site.run("evaluate", "bundle", "--on", "test", installed=False)
    assert lost.returncode == 2
    assert "this spec needs cbalign-fake>=1.2, which is not installed" in lost.stderr
