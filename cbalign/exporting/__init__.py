"""From a run to a bundle: ONNX graphs, proven to compute what the trained model computes."""
