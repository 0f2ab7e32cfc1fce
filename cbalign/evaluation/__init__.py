"""Evaluation protocols and metrics for any `cbalign.encoders.Encoder`; uses numpy and does not import torch."""
