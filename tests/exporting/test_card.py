"""What a model card says of the licence of the data."""

import pytest

from cbalign.experiment.load import load_experiment
from cbalign.exporting.card import model_card
from cbalign.exporting.parity import ParityReport
from cbalign.runtime.bundle import BundleManifest

SPEC = """\
cbalign: 1
name: x
model: {{vision: {{init: random}}, text: {{init: random}}, fusion: {{init: random}}}}
data: {{train: {{source: {source}}}}}
"""


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("scenes, split: train", "- scenes: drawn by cbalign itself, without data of others; no licence applies"),
        ("openmoji, split: train", "- OpenMoji's drawings: CC BY-SA 4.0, by the OpenMoji project"),
        ("csv, files: [a.csv]", "- csv: unknown to cbalign, check its source"),
    ],
)
def test_the_card_knows_the_licence_of_data_that_cbalign_brings(tmp_path, source, line):
    (tmp_path / "spec.yaml").write_text(SPEC.format(source=source))
    experiment = load_experiment(tmp_path / "spec.yaml", check_files=False).experiment
    manifest = BundleManifest("x", "now", "run", 1, "0", (), ("fp32",), 20, "", {}, {})
    card = model_card(manifest, experiment, "some data", ParityReport("some items", (), ()))
    section = card.partition("## Data and licence")[2].partition("## ")[0]
    assert line in section.splitlines()
