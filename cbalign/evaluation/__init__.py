"""Protocols and metrics. Models are seen only through `cbalign.encoders.Encoder`; numpy, never torch."""
