"""The trackers of cbalign itself."""

from __future__ import annotations

from cbalign.engine.sections.trackers import TensorBoardTracker
from cbalign.engine.tracker import Record, RunInfo


class TensorBoard:
    """Implements `Tracker`: one TensorBoard curve for each metric, in the run's folder `tensorboard/`."""

    def __init__(self, section: TensorBoardTracker, info: RunInfo) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second to import

        purge = info.done + 1 if info.resumed else None  # hides points of steps that a killed process did not save
        self._writer = SummaryWriter(str(info.folder / "tensorboard"), purge_step=purge)

    def log(self, record: Record) -> None:
        """Add one point to each curve."""
        for name, value in record.values.items():
            title = name if "/" in name else f"{record.kind}/{name}"
            self._writer.add_scalar(title, value, record.step)

    def close(self) -> None:
        """Write what is buffered."""
        self._writer.close()
