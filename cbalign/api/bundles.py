"""Export in Python, and bundles as objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbalign.api.arguments import listed
from cbalign.api.progress import stages
from cbalign.errors import UsageError

if TYPE_CHECKING:
    from cbalign.api.model import Model
    from cbalign.api.runs import Run
    from cbalign.exporting.bundle import Exported
    from cbalign.exporting.targets import TargetRequest


@dataclass(frozen=True)
class Bundle:
    """An exported bundle, checked against PyTorch. Made by `cbalign.export`; `cbalign.load` opens an existing one.

    Attributes:
        path: folder of the bundle, absolute.
    """

    path: Path
    exported: Exported = field(repr=False)

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
        from cbalign.engine.files import shown_path

        names = f"{', '.join(self.precisions)}: {', '.join(self.graphs)}"
        return f"Bundle {shown_path(self.path)} ({names}), checked against PyTorch"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"


def export(
    run: str | Path | Run,
    output: str | Path | None = None,
    *,
    precisions: str | Sequence[str] = (),
    targets: str | Sequence[str | TargetRequest] = (),
    force: bool = False,
    progress: bool | Callable[[str], None] = False,
) -> Bundle:
    """Export a checkpoint of a run to an ONNX bundle that needs no PyTorch.

    Args:
        run: a run directory, its name in `runs/`, or a `Run`, whose newest checkpoint is exported; or a checkpoint
            `RUN/checkpoints/step-N`, such as `Run.best` returns.
        output: folder of the bundle; default: `exports/NAME`.
        precisions: instead of the spec's, such as `("fp32", "int8")`.
        targets: other layouts to write next to the bundle, such as `("triton",)`.
        force: whether to replace an existing bundle and existing targets.
        progress: whether to show the progress; or called as `progress(stage)` with what is being done.

    Raises:
        UsageError: the folder exists and `force` is not given, or `run` is a bundle.
        ParityError: a graph does not compute what PyTorch computes.
    """
    from cbalign.api.opening import find_model
    from cbalign.exporting.bundle import export_run
    from cbalign.exporting.targets import TargetRequest, target_section
    from cbalign.runtime.bundle import is_bundle

    source = find_model(run)
    if is_bundle(source):
        raise UsageError(f"{source} is already a bundle", remedy="Export the run that it was made from.")
    asked = [TargetRequest(target_section(each), None) if isinstance(each, str) else each for each in listed(targets)]
    target = None if output is None else Path(output)
    exported = export_run(
        source, target, precisions=listed(precisions), targets=asked, force=force, report=stages(progress)
    )
    return Bundle(exported.folder.absolute(), exported)
