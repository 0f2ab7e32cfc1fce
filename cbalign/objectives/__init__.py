"""Objectives: one loss term per module. Tasks weight and combine them."""
