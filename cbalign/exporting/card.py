"""Write the model card: what the bundle does, its results and how they were measured, and how to use it."""

from __future__ import annotations

from collections.abc import Sequence

from cbalign.evaluation.table import markdown_table
from cbalign.experiment.experiment import Experiment
from cbalign.exporting.parity import ParityReport, PrecisionReport
from cbalign.runtime.bundle import BundleManifest
from cbalign.runtime.precisions import precision_section
from cbalign.runtime.signatures import Port, Signature
from cbalign.runtime.table import Table
from cbalign.runtime.task import task_runtime

_LICENCES = {
    "all-minilm-l6-v2": "text weights all-MiniLM-L6-v2: Apache-2.0",
    "bert-base-uncased": "text weights BERT-base: Apache-2.0",
    "deit_base_patch16_224": "image weights DeiT-B/16: Apache-2.0",
    "efficientnet-lite0": "image weights EfficientNet-Lite0: Apache-2.0",
}


def model_card(manifest: BundleManifest, experiment: Experiment, data: str, report: ParityReport) -> str:
    """Return the bundle's README.md.

    Args:
        manifest: manifest of the bundle, with the graphs' files.
        experiment: the trained experiment.
        data: one line about the training data.
        report: the comparison with PyTorch.
    """
    reports = [each for each in report.precisions if each.precision in manifest.precisions]
    parts = [
        f"# {manifest.name}",
        experiment.description
        or "A vision-language model, aligned through a representation codebook and exported by cbalign.",
        f"Exported from the run `{manifest.run}` at step {manifest.step}; `spec.yaml` is the complete experiment.",
        "## What it does",
        "\n".join(_graph_line(graph, manifest.signatures[graph]) for graph in manifest.graphs),
        f"Images become {experiment.model.vision.image_size} px squares (`preprocessing.json` says how), texts are "
        f"truncated to {experiment.model.text.max_tokens} tokens (`tokenizer.json`, `text.json`). Pixels are uint8; "
        "the graphs include scaling, normalisation and all other processing of pixels and tokens. All precisions have "
        "the same input and output types.",
        "## Data and licence",
        f"Trained on {data}.",
        _licences(experiment),
        "## Results",
        *_results(reports),
        "Measured with the files of this bundle.",
        "## Parity with the trained model",
        _parity_table(manifest, reports),
        f"Comparisons with PyTorch on {report.source}, from single tensors to task metrics; `parity.json` lists all of "
        f"them. Operator set {manifest.opset}: {manifest.opset_reason}.",
        "## Limitations",
        "\n".join(f"- {limit}" for limit in _limits(manifest, experiment)),
        "## Usage",
        "```\npip install cbalign\ncbalign verify .\n```",
        f"```python\n{task_runtime(experiment.task).usage()}```",
    ]
    return "\n\n".join(parts) + "\n"


def _licences(experiment: Experiment) -> str:
    model = experiment.model
    weights = (model.text.weights_source, model.vision.weights_source, model.fusion.weights_source)
    named = (source.model for source in weights if source and source.model)
    data = experiment.data.train
    licences = {data.source: data.licence, **{name: _LICENCES.get(name) for name in named}}
    known = [f"- {licence}" for licence in licences.values() if licence is not None]
    unknown = [f"- {name}: unknown to cbalign, check its source" for name, each in licences.items() if each is None]
    return "\n".join(
        ["The licences of the training data and initial weights also apply to the model:", "", *known, *unknown]
    )


def _results(reports: Sequence[PrecisionReport]) -> list[str]:
    if len(reports) == 1:
        return [markdown_table(reports[0].results)]
    return [part for report in reports for part in (f"### {report.precision}", markdown_table(report.results))]


def _parity_table(manifest: BundleManifest, reports: Sequence[PrecisionReport]) -> str:
    rows = []
    for report in reports:
        size = sum(f.size for name, f in manifest.files.items() if name.startswith(f"{report.precision}/"))
        tight = report.tightest
        purpose = precision_section(report.precision).purpose
        checks = f"{len(report.checks)} passed, on {report.device}"
        closest = f"{tight.graph}: {tight.quantity}, {tight.error:.2g} of {tight.limit:.2g}"
        rows.append((report.precision, purpose, f"{size / 1e6:.1f} MB", checks, closest))
    return Table.of(("precision", "for", "size", "comparisons", "closest to its limit"), rows, right=(2, 3)).markdown()


def _limits(manifest: BundleManifest, experiment: Experiment) -> list[str]:
    limits = [
        "The results above apply only to images and texts similar to the evaluation data.",
        f"Texts are truncated to {experiment.model.text.max_tokens} tokens; images lose their aspect ratio.",
        "The model reproduces gaps and errors of its training data. It is not intended for decisions about people.",
    ]
    caveats = (precision_section(name).caveat for name in manifest.precisions)
    return [*limits, *filter(None, caveats)]


def _graph_line(graph: str, signature: Signature) -> str:
    takes, gives = (", ".join(map(_port, ports)) for ports in (signature.inputs, signature.outputs))
    return f"- `{graph}.onnx`: {takes} → {gives}"


def _port(port: Port) -> str:
    dims = ", ".join(name or "·" for name in port.shape)
    return f"`{port.name}` {port.dtype} ({dims})"
