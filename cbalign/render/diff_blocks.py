"""Tables of `cbalign diff` besides the settings, and changes in words, for every format that people read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import click

from cbalign.experiment.derived import Quantity
from cbalign.experiment.diff import Difference
from cbalign.experiment.document import Data
from cbalign.experiment.operands import Operand
from cbalign.lab.comparison.findings import Findings, Pairing
from cbalign.render.quantities import ABSENT, exact, setting_value
from cbalign.runtime.table import Table

SHOWN_TENSORS = 8
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_SIGNS = {"better": "green", "worse": "red"}


def other_tables(findings: Findings) -> Iterator[Table]:
    """Derived quantities, metrics, graphs and weights, as tables with a title."""
    if findings.derived:
        yield _derived(findings)
    if findings.metrics is not None and (findings.metrics.rows or findings.metrics.remarks):
        yield _metrics(findings)
    for pairing in findings.pairings:
        yield from _graphs(pairing, findings.everything)
        if pairing.weights is not None:
            yield _weights(pairing, findings.everything)


def count(findings: Findings) -> str:
    """The number of differences in words."""
    number = len(findings.comparison.differences)
    return f"{number} difference{'s' * (number != 1)}" if number else "no differences"


def origins(difference: Difference, operands: Sequence[Operand]) -> list[str]:
    """Where each operand's value was set; files of a run or bundle are relative to its folder."""
    return [
        ABSENT if cell is None else str(cell.origin).removeprefix(f"{operand.run or operand.folder}/")
        for cell, operand in zip(difference.cells, operands)
    ]


def change(difference: Difference) -> str:
    """`+64, ×2` for numbers."""
    if difference.delta is None:
        return ""
    return _delta_and_ratio(difference.delta, difference.ratio)


def _delta_and_ratio(delta: float, ratio: float | None) -> str:
    text = f"{'+' * (delta > 0)}{exact(round(delta, 12))}"
    return f"{text}, ×{ratio:.4g}" if ratio else text


def _derived(findings: Findings) -> Table:
    rows = []
    for quantities in findings.derived:
        values = [_quantity(quantity) for quantity in quantities]
        rows.append((quantities[0].name, *values, *((_moved(*quantities),) if findings.is_pair else ())))
    header = ("", *findings.names, *(("change",) if findings.is_pair else ()))
    reasons = dict.fromkeys(q.unknown for row in findings.derived for q in row if q.value is None and q.unknown)
    return Table.of(header, rows, title="DERIVED", notes=[f"? is unknown: {reason}" for reason in reasons])


def _quantity(quantity: Quantity) -> str:
    if quantity.value is None:
        return "?" if quantity.unknown else ABSENT
    if quantity.unit == "bytes":
        return _bytes(quantity.value)
    return f"{quantity.value:,}" if isinstance(quantity.value, int) else exact(quantity.value)


def _moved(before: Quantity, after: Quantity) -> str:
    if before.value is None or after.value is None or before.value == after.value:
        return ""
    ratio = f"×{after.value / before.value:.4g}" if before.value else ""
    if before.unit == "bytes":
        return ratio
    delta = after.value - before.value
    text = f"{delta:+,}" if isinstance(delta, int) else f"{'+' * (delta > 0)}{exact(round(delta, 12))}"
    return f"{text}, {ratio}" if ratio else text


def _bytes(amount: float) -> str:
    power = min(len(_UNITS) - 1, int(math.log(amount, 1024))) if amount >= 1 else 0
    return f"{amount / 1024**power:.4g} {_UNITS[power]}"


def _metrics(findings: Findings) -> Table:
    """Each run's value, and its change from the first run with confidence interval and judgement."""
    assert findings.metrics is not None
    rows = []
    for row in findings.metrics.rows:
        if not findings.everything and row.is_minor:
            continue
        cells = [_decimal(row.name, row.values[0])]
        for amount, moved in zip(row.values[1:], row.changes):
            cells.append(_decimal(row.name, amount))
            if moved is None:
                cells.append("")
                continue
            text = f"{moved.delta:+.{_digits(row.name)}f}"
            if moved.interval is not None:
                low, high = (f"{end:.{_digits(row.name)}f}".replace("-", "−") for end in moved.interval)
                judged = click.style(moved.judgement, fg=_SIGNS.get(moved.judgement))
                text += f", 95 % [{low}, {high}]: {judged}"
            cells.append(text.replace("-", "−", 1) if moved.delta < 0 else text)
        rows.append((row.name, *cells))
    others = [cell for name in findings.names[1:] for cell in (name, "change")]
    return Table.of(("", findings.names[0], *others), rows, title="METRICS", notes=findings.metrics.remarks)


def _digits(name: str) -> int:
    return 1 if "R@" in name or "rank" in name or name.endswith(("/r1", "/r5", "/r10")) else 4


def _decimal(name: str, amount: float | None) -> str:
    return ABSENT if amount is None else f"{amount:.{_digits(name)}f}"


def _graphs(pairing: Pairing, everything: bool) -> Iterator[Table]:
    for graph in pairing.graphs:
        title = f"GRAPH {graph.name}  {pairing.first} → {pairing.other}"
        rows = []
        if graph.opsets is not None and graph.opsets[0] != graph.opsets[1]:
            rows.append(("opset", *map(str, graph.opsets)))
        rows += [(f"{kind} nodes", *map(str, pair)) for kind, pair in graph.operators.items()]
        notes: list[str] = []
        if graph.weights is None:
            notes.append("Weights are not compared: this needs onnx (pip install onnx).")
        elif graph.computes_the_same:
            notes.append("Operators and weights are the same; only metadata of the file differ.")
        elif not rows or not graph.weights.same:
            rows += _tensor_rows(pairing, graph.weights, everything)
            notes += _tensor_notes(graph.weights, everything)
        yield Table.of(("", pairing.first, pairing.other), rows, title=title, notes=notes)


def _weights(pairing: Pairing, everything: bool) -> Table:
    assert pairing.weights is not None
    return Table.of(
        ("", "", "change"),
        _tensor_rows(pairing, pairing.weights, everything),
        title=f"WEIGHTS  {pairing.first} → {pairing.other}",
        notes=list(_tensor_notes(pairing.weights, everything)),
    )


def _tensor_rows(pairing: Pairing, weights: object, everything: bool) -> list[tuple[str, str, str]]:
    from cbalign.lab.comparison.weights import WeightChanges

    assert isinstance(weights, WeightChanges)
    changed = weights.changed if everything else weights.changed[:SHOWN_TENSORS]
    return [(each.name, "", _relative(each.relative)) for each in changed]


def _tensor_notes(weights: object, everything: bool) -> Iterator[str]:
    from cbalign.lab.comparison.weights import WeightChanges, typical

    assert isinstance(weights, WeightChanges)
    if weights.same:
        yield f"All {weights.compared:,} tensors are the same."
        return
    if weights.changed:
        middle = _relative(typical(weights.changed))
        rest = len(weights.changed) - SHOWN_TENSORS
        more = f"; {rest:,} more with --all" if rest > 0 and not everything else ""
        yield (
            f"{len(weights.changed):,} of {weights.compared:,} tensors changed, typically by {middle} "
            f"(|B − A| / |A|, the median){more}."
        )
    for words, names in (
        ("have a different shape", weights.reshaped),
        ("exist only in the first", weights.only[0]),
        ("exist only in the second", weights.only[1]),
    ):
        if names:
            listed = names if everything else names[:3]
            yield f"{len(names):,} {words}: {', '.join(listed)}{'' if len(listed) == len(names) else ', …'}"


def _relative(amount: float) -> str:
    if math.isinf(amount):
        return "from zero"
    return f"{100 * amount:,.0f} %" if amount >= 1 else f"{100 * amount:.3g} %"


def list_change(before: Sequence[Data], after: Sequence[Data]) -> str:
    """Items removed from a list and items added to it; "" if only the order differs."""
    gone = [click.style(f"-{setting_value(item)}", fg="red") for item in before if item not in after]
    new = [click.style(f"+{setting_value(item)}", fg="green") for item in after if item not in before]
    return f"({' '.join([*gone, *new])})" if gone or new else ""
