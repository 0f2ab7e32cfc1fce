"""From a run to a bundle: ONNX graphs, proven to compute what the trained model computes."""

from cbalign.export.bundle import Exported, export_run

__all__ = ["Exported", "export_run"]
