"""The model card: what the bundle is, how good it is and how that was measured, and how to use it."""

from __future__ import annotations

from cbalign.evaluation.table import markdown_table
from cbalign.export.parity import ParityReport
from cbalign.runtime.bundle import BundleManifest
from cbalign.runtime.signatures import SIGNATURES, Port
from cbalign.spec.experiment import Experiment


def model_card(manifest: BundleManifest, experiment: Experiment, data: str, report: ParityReport) -> str:
    """The bundle's README.md.

    Args:
        manifest: of the bundle.
        experiment: what was trained.
        data: one line about the training pairs.
        report: the comparison with PyTorch.
    """
    worst = report.worst
    parts = [
        f"# {manifest.name}",
        experiment.description
        or "A vision-language model, aligned through a representation codebook and exported by cbalign.",
        f"Exported from the run `{manifest.run}` at step {manifest.step}. Trained on {data}; the licence of these data "
        "and of any initial weights applies to the model too.",
        "## What it does",
        "\n".join(_graph_line(graph) for graph in manifest.graphs),
        f"Images are resized to {experiment.model.vision.image_size} px squares (`preprocessing.json`), captions cut "
        f"at {experiment.model.text.max_tokens} tokens (`tokenizer.json`, `text.json`).",
        "## How good it is",
        markdown_table(report.onnx_results),
        "Measured with these files. The numbers say nothing about other kinds of pictures or words.",
        "## Is it the trained model?",
        f"{len(report.checks)} comparisons with PyTorch on {report.source} hold (`parity.json`). The tightest: "
        f"{worst.quantity} of the {worst.graph} graph, {worst.error:.2g} of {worst.limit:.2g} allowed.",
        "## How to use it",
        "```\npip install cbalign\ncbalign verify .\n```",
        "```python\nfrom cbalign.runtime.images import load_pixels\nfrom cbalign.runtime.session import Session\n\n"
        'session = Session.open(".")\n'
        'images = session.encode_images(load_pixels(["picture.png"], session.image_size))\n'
        'texts = session.encode_texts(["a red car"])\n'
        "similarity = images.embedding @ texts.embedding.T\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _graph_line(graph: str) -> str:
    signature = SIGNATURES[graph]
    takes, gives = (", ".join(map(_port, ports)) for ports in (signature.inputs, signature.outputs))
    return f"- `{graph}.onnx`: {takes} → {gives}"


def _port(port: Port) -> str:
    dims = ", ".join(name or "·" for name in port.shape)
    return f"`{port.name}` {port.dtype} ({dims})"
