"""Objects in a notebook: small tables in HTML, in which names are shown and never obeyed."""

import html
from collections.abc import Iterable, Sequence

from metaseg.terminal import visible

MOST_ROWS = 30
"""Rows that are shown; a notebook isn't a report."""


def html_table(
    title: str, columns: Sequence[str] = (), rows: Iterable[Sequence[object]] = (), notes: Iterable[str] = ()
) -> str:
    """A title, a table and paragraphs below it, for `_repr_html_`.

    Args:
        title: above the table.
        columns: headings; without any, there is no table.
        rows: cells, whose texts are escaped; None and NaN are dashes. Of more than `MOST_ROWS`, the first are shown.
        notes: paragraphs; empty ones are left out.
    """
    listed = [list(row) for row in rows]
    head = "".join(f"<th style='text-align: left'>{_text(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in listed[:MOST_ROWS])
    more = [f"... and {len(listed) - MOST_ROWS} more"] if len(listed) > MOST_ROWS else []
    paragraphs = "".join(f"<p>{_text(note)}</p>" for note in [*more, *notes] if note)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if columns else ""
    return f"<div><strong>{_text(title)}</strong>{table}{paragraphs}</div>"


def _cell(value: object) -> str:
    if isinstance(value, int | float):
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if value == value else "-"
        return f'<td style="text-align: right">{shown}</td>'
    return f'<td style="text-align: left">{_text("-" if value is None else str(value))}</td>'


def _text(text: str) -> str:
    return html.escape(visible(text))


def counted(number: int, thing: str) -> str:
    """A number of things in words.

    >>> counted(1, "run"), counted(2, "run")
    ('1 run', '2 runs')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
