"""Reports of `cbalign diff` as one HTML page without scripts or external resources."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cbalign.experiment.diff import Difference
from cbalign.lab.comparison.findings import Findings
from cbalign.render.diff_blocks import change, count, origins, other_tables
from cbalign.render.quantities import shown
from cbalign.runtime.table import Table, unstyled

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --dim: #888; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.3em; } h2 { font-size: 1em; margin: 2em 0 .3em; } h2 small { font-weight: normal; color: var(--dim); }
table { border-collapse: collapse; width: 100%; } th { text-align: left; color: var(--dim); font-weight: normal; }
td, th { padding: .25em .8em .25em 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; }
td small { display: block; color: var(--dim); } .wrap { overflow-x: auto; }
section { border-left: .3em solid var(--line); padding-left: 1em; }
.architecture, .initialisation, .no { border-color: #d33; } .data, .training, .partly { border-color: #d92; }
.evaluation { border-color: #a4c; } .export { border-color: #29c; } .runtime, .label, .yes { border-color: #3a5; }
"""


def diff_html(findings: Findings) -> str:
    """Report findings as an HTML document."""
    comparison = findings.comparison
    title = escape((" → " if findings.is_pair else ", ").join(findings.names))
    parts = [f"<h1>{title}: {count(findings)}</h1>"]
    parts += _verdicts(findings)
    for effect, found in comparison.by_effect.items():
        head = f"<h2>{effect.value.capitalize()} <small>{escape(effect.meaning)}</small></h2>"
        parts.append(f'<section class="{effect.value}">{head}{_settings(findings, found)}</section>')
    if comparison.same:
        parts.append(f"<section><h2>The same</h2>{_settings(findings, comparison.same)}</section>")
    parts += map(_section, other_tables(findings))
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</html>"
    )


def _verdicts(findings: Findings) -> list[str]:
    parts = ["<h2>Verdicts</h2>"] if findings.verdicts else []
    for verdict in findings.verdicts:
        details = "".join(f"<li>{escape(detail)}</li>" for detail in verdict.details)
        more = f"<details><summary>details</summary><ul>{details}</ul></details>" if details else ""
        text = f"{escape(verdict.question)}: <b>{verdict.answer}</b>, {escape(verdict.reason)}"
        parts.append(f'<section class="{verdict.answer}"><p>{text}</p>{more}</section>')
    return parts


def _section(table: Table) -> str:
    rows = [[escape(unstyled(cell)) for cell in row] for row in table.rows]
    html = _table([escape(column.label) for column in table.columns], rows) if rows else ""
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    return f"<section><h2>{escape(table.title.capitalize())}</h2>{html}{notes}</section>"


def _settings(findings: Findings, found: Sequence[Difference]) -> str:
    """A row for each setting, with the origin below each value and the setting's help as a tooltip."""
    rows = []
    for difference in found:
        name = f'<span title="{escape(difference.help)}">{escape(difference.path)}</span>'
        places = zip(difference.cells, origins(difference, findings.operands))
        cells = [f"{escape(shown(cell))}<small>{escape(place)}</small>" for cell, place in places]
        rows.append([name, *cells, "" if difference.delta == 0 else escape(change(difference))])
    return _table(["setting", *map(escape, findings.names), "change"], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in header)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wrap"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'
