"""Export a run to a bundle of ONNX graphs and verify that they compute what the trained model computes."""
