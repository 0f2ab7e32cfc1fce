"""cbalign: declarative vision-language alignment through a representation codebook.

    import cbalign

    model = cbalign.load("runs/latest")
    model.rank("a red car", ["a.jpg", "b.jpg"])

Names are imported when they are used, so that `import cbalign` loads neither torch nor onnxruntime.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# onnxruntime's wheels send telemetry, and write an identifier into the user's cache when they are imported. onnxruntime
# reads this variable at its import, and only this module is certain to be imported before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from cbalign.api.bundles import Bundle as Bundle
    from cbalign.api.bundles import export as export
    from cbalign.api.comparisons import Diff as Diff
    from cbalign.api.comparisons import diff as diff
    from cbalign.api.evaluations import Evaluation as Evaluation
    from cbalign.api.evaluations import evaluate as evaluate
    from cbalign.api.index import Index as Index
    from cbalign.api.index import index as index
    from cbalign.api.model import Model as Model
    from cbalign.api.opening import load as load
    from cbalign.api.plans import Plan as Plan
    from cbalign.api.plans import plan as plan
    from cbalign.api.runs import Run as Run
    from cbalign.api.runs import resume as resume
    from cbalign.api.runs import train as train
    from cbalign.api.specs import Spec as Spec
    from cbalign.api.specs import spec as spec
    from cbalign.api.vectors import Codes as Codes
    from cbalign.api.vectors import Ranking as Ranking

_PLACES = {
    "Bundle": "bundles",
    "Codes": "vectors",
    "Diff": "comparisons",
    "Evaluation": "evaluations",
    "Index": "index",
    "Model": "model",
    "Plan": "plans",
    "Ranking": "vectors",
    "Run": "runs",
    "Spec": "specs",
    "diff": "comparisons",
    "evaluate": "evaluations",
    "export": "bundles",
    "index": "index",
    "load": "opening",
    "plan": "plans",
    "resume": "runs",
    "spec": "specs",
    "train": "runs",
}

__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'cbalign' has no attribute {name!r}")
    return getattr(import_module(f"cbalign.api.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
