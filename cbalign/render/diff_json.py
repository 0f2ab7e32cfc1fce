"""Reports of `cbalign diff` as JSON values, unshortened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cbalign.experiment.diff import Difference
from cbalign.experiment.dump import experiment_fingerprint
from cbalign.lab.comparison.findings import Findings, Pairing


def diff_document(findings: Findings) -> dict[str, Any]:
    """Report findings as JSON values."""
    comparison = findings.comparison
    return {
        "operands": [
            {
                "name": o.name,
                "kind": o.kind,
                "path": str(o.loaded.path),
                "fingerprint": experiment_fingerprint(o.experiment),
            }
            for o in findings.operands
        ],
        "same": not comparison.differences,
        "worst": comparison.worst,
        "differences": _differences(comparison.differences),
        **({"unchanged": _differences(comparison.same)} if findings.everything else {}),
        "derived": [
            {
                "name": row[0].name,
                "unit": row[0].unit or None,
                "formulas": [quantity.formula for quantity in row],
                "values": [quantity.value for quantity in row],
                "unknown": [quantity.unknown or None for quantity in row],
            }
            for row in findings.derived
        ],
        "verdicts": [
            {"question": v.question, "answer": v.answer, "reason": v.reason, "details": list(v.details)}
            for v in findings.verdicts
        ],
        **_metrics(findings),
        "weights": [each for pairing in findings.pairings for each in _pairing(pairing)],
    }


def _differences(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    return [
        {
            "path": difference.path,
            "effect": difference.effect,
            "values": [cell.value if cell else None for cell in difference.cells],
            "present": [cell is not None for cell in difference.cells],
            "origins": [str(cell.origin) if cell else None for cell in difference.cells],
            "delta": difference.delta,
            "ratio": difference.ratio,
            "help": difference.help,
        }
        for difference in differences
    ]


def _metrics(findings: Findings) -> dict[str, Any]:
    if findings.metrics is None:
        return {"metrics": [], "remarks": []}
    rows = [
        {
            "name": row.name,
            "values": list(row.values),
            "changes": [
                {"delta": c.delta, "interval_95": c.interval and list(c.interval), "judgement": c.judgement or None}
                if c
                else None
                for c in row.changes
            ],
        }
        for row in findings.metrics.rows
    ]
    return {"metrics": rows, "remarks": list(findings.metrics.remarks)}


def _pairing(pairing: Pairing) -> list[dict[str, Any]]:
    sides = {"first": pairing.first, "other": pairing.other}
    found = [
        {
            **sides,
            "file": graph.name,
            "opsets": graph.opsets and list(graph.opsets),
            "operators": {kind: list(pair) for kind, pair in graph.operators.items()},
            "tensors": None if graph.weights is None else _tensors(graph.weights),
        }
        for graph in pairing.graphs
    ]
    if pairing.weights is not None:
        found.append({**sides, "file": pairing.weights.place, "tensors": _tensors(pairing.weights)})
    return found


def _tensors(weights: Any) -> dict[str, Any]:
    return {
        "compared": weights.compared,
        "changed": [
            {"name": each.name, "relative_change": None if math.isinf(each.relative) else each.relative}
            for each in weights.changed
        ],
        "reshaped": list(weights.reshaped),
        "only_in_first": list(weights.only[0]),
        "only_in_other": list(weights.only[1]),
    }
