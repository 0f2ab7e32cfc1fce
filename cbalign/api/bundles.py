"""Export in Python, and bundles as objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbalign.errors import UsageError

if TYPE_CHECKING:
    from cbalign.api.model import Model
    from cbalign.api.runs import Run
    from cbalign.exporting.bundle import Exported
    from cbalign.exporting.targets import TargetRequest


@dataclass(frozen=True)
class Bundle:
    """An exported bundle, compared with PyTorch. Made by `cbalign.export`.

    Args:
        path: folder of the bundle.
        exported: manifest and parity report.
    """

    path: Path
    exported: Exported

    @property
    def graphs(self) -> tuple[str, ...]:
        """Names of the ONNX graphs."""
        return self.exported.manifest.graphs

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions of the graphs, one folder each."""
        return tuple(self.exported.manifest.precisions)

    def load(self, **options: Any) -> Model:
        """Open the bundle; see `cbalign.load`."""
        from cbalign.api.opening import load

        return load(self, **options)

    def to_dict(self) -> dict[str, Any]:
        """Graphs, precisions and the parity check that is closest to its limit in each, as plain data."""
        checks = {
            report.precision: {
                "checks": len(report.checks),
                "closest": {"error": report.tightest.error, "limit": report.tightest.limit},
            }
            for report in self.exported.parity.precisions
        }
        return {"path": str(self.path), "graphs": list(self.graphs), "precisions": checks}

    def __repr__(self) -> str:
        return f"Bundle {self.path} ({', '.join(self.precisions)}: {', '.join(self.graphs)}), compared with PyTorch"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"


def export(
    run: str | Path | Run,
    output: str | Path | None = None,
    *,
    precisions: Sequence[str] = (),
    targets: Sequence[str | TargetRequest] = (),
    force: bool = False,
    progress: Callable[[str], None] = lambda stage: None,
) -> Bundle:
    """Export the newest checkpoint of a run to an ONNX bundle that needs no PyTorch.

    Args:
        run: a run directory, its name in `runs/`, or a `Run`.
        output: folder of the bundle; `exports/NAME` when left out.
        precisions: instead of the spec's, such as `("fp32", "int8")`.
        targets: other layouts to write next to the bundle, such as `("triton",)`.
        force: whether to replace an existing bundle and existing targets.
        progress: called with what is being done.

    Raises:
        UsageError: the folder exists and `force` is not given.
        ParityError: a graph does not compute what PyTorch computes.
    """
    from cbalign.api.opening import find_model
    from cbalign.exporting.bundle import export_run
    from cbalign.exporting.targets import TargetRequest, target_section

    if isinstance(precisions, str) or isinstance(targets, str):
        raise UsageError("precisions and targets are lists of names", remedy='Write ("fp32",) with a comma.')
    asked = [TargetRequest(target_section(each), None) if isinstance(each, str) else each for each in targets]
    target = None if output is None else Path(output)
    exported = export_run(
        find_model(run), target, precisions=tuple(precisions), targets=asked, force=force, report=progress
    )
    return Bundle(exported.folder, exported)
