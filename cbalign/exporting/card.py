"""The model card: what the bundle is, how good it is and how that was measured, and how to use it."""

from __future__ import annotations

from collections.abc import Sequence

from cbalign.evaluation.table import markdown_table
from cbalign.experiment.experiment import Experiment
from cbalign.exporting.parity import ParityReport, PrecisionReport
from cbalign.runtime.bundle import BundleManifest
from cbalign.runtime.precisions import precision_section
from cbalign.runtime.signatures import SIGNATURES, Port
from cbalign.runtime.table import Table
from cbalign.runtime.task import task_runtime

_LICENCES = {
    "openmoji": "OpenMoji's drawings: CC BY-SA 4.0, by the OpenMoji project",
    "all-minilm-l6-v2": "text weights all-MiniLM-L6-v2: Apache-2.0",
    "bert-base-uncased": "text weights BERT-base: Apache-2.0",
    "deit_base_patch16_224": "image weights DeiT-B/16: Apache-2.0",
}


def model_card(manifest: BundleManifest, experiment: Experiment, data: str, report: ParityReport) -> str:
    """The bundle's README.md.

    Args:
        manifest: of the bundle, with the graphs' files.
        experiment: what was trained.
        data: one line about the training pairs.
        report: the comparison with PyTorch.
    """
    reports = [each for each in report.precisions if each.precision in manifest.precisions]
    parts = [
        f"# {manifest.name}",
        experiment.description
        or "A vision-language model, aligned through a representation codebook and exported by cbalign.",
        f"Exported from the run `{manifest.run}` at step {manifest.step}; `spec.yaml` is the whole experiment.",
        "## What it does",
        "\n".join(_graph_line(graph) for graph in manifest.graphs),
        f"Images are resized to {experiment.model.vision.image_size} px squares (`preprocessing.json`), texts cut "
        f"at {experiment.model.text.max_tokens} tokens (`tokenizer.json`, `text.json`). Pixels are uint8: scaling and "
        "normalisation are inside, as is all else that the model does to pixels and words. All precisions take and "
        "give the same types.",
        "## Data and licence",
        f"Trained on {data}.",
        _licences(experiment),
        "## How good it is",
        *_results(reports),
        "Measured with these files.",
        "## Is it the trained model?",
        _parity_table(manifest, reports),
        f"Comparisons with PyTorch on {report.source}, from single tensors to the task itself; `parity.json` has every "
        f"one. Operator set {manifest.opset}: {manifest.opset_reason}.",
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(manifest, experiment)),
        "## How to use it",
        "```\npip install cbalign\ncbalign verify .\n```",
        f"```python\n{task_runtime(experiment.task).usage()}```",
    ]
    return "\n\n".join(parts) + "\n"


def _licences(experiment: Experiment) -> str:
    weights = (experiment.model.text.weights_source, experiment.model.vision.weights_source)
    origins = [experiment.data.train.source, *(source.model for source in weights if source and source.model)]
    known = [f"- {_LICENCES[name]}" for name in origins if name in _LICENCES]
    unknown = [f"- {name}: not known here, look where it came from" for name in origins if name not in _LICENCES]
    return "\n".join(["The licences of what it was made from apply to the model too:", "", *known, *unknown])


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
        "The numbers above hold for pictures and words like those they were measured on, and say nothing about others.",
        f"Texts longer than {experiment.model.text.max_tokens} tokens lose their end; pictures lose their aspect "
        "ratio.",
        "What the training data show too rarely, or wrongly, the model has learned so. It is not made for decisions "
        "about people.",
    ]
    caveats = (precision_section(name).caveat for name in manifest.precisions)
    return [*limits, *filter(None, caveats)]


def _graph_line(graph: str) -> str:
    signature = SIGNATURES[graph]
    takes, gives = (", ".join(map(_port, ports)) for ports in (signature.inputs, signature.outputs))
    return f"- `{graph}.onnx`: {takes} → {gives}"


def _port(port: Port) -> str:
    dims = ", ".join(name or "·" for name in port.shape)
    return f"`{port.name}` {port.dtype} ({dims})"
