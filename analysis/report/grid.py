"""A table of a report: it knows how to become a terminal's tables, Markdown, LaTeX and HTML."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from analysis.report.plain_text import to_html, to_latex, to_markdown
from analysis.wording import format_p
from metaseg.terminal import visible

Emphasis = Literal["plain", "best", "second", "helps", "hurts", "faint"]

STYLES: dict[Emphasis, str] = {
    "plain": "",
    "best": "bold",
    "second": "underline",
    "helps": "bold green",
    "hurts": "bold red",
    "faint": "dim",
}
MARKS: dict[Emphasis, str] = {"best": "*", "second": "'"}
"""What shows a rank where the output has no styles."""
MARKDOWN: dict[Emphasis, str] = {"best": "**{}**", "second": "<u>{}</u>", "helps": "**{}**", "hurts": "**{}**"}
LATEX: dict[Emphasis, str] = {
    "best": r"\textbf{%s}", "second": r"\underline{%s}", "helps": r"\textbf{%s}", "hurts": r"\textbf{%s}"
}  # fmt: skip


PAGE, LETTER, PADDING = 1120.0, 8.4, 19.2
"""Pixels: of the page's width for tables in a window 1200 pixels wide; of a letter; of the space around a column."""


@dataclass(frozen=True)
class Cell:
    """A cell of two lines (side by side in Markdown), the first of them emphasised."""

    first: str
    second: str = ""
    emphasis: Emphasis = "plain"


@dataclass(frozen=True)
class Grid:
    """A table of cells, with a label for each row."""

    title: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]

    def to_rich(self, width: int, styled: bool) -> list[RenderableType]:
        """The title, and tables of at most `width` characters: columns that don't fit go on in the next table.

        Without `styled`, ranks are shown by `MARKS` instead of bold and underline.
        """
        columns = [visible(column) for column in self.columns]
        widths = [max(cell_len(column), *(_width(row[i]) for _, row in self.rows)) for i, column in enumerate(columns)]
        corner, names = visible(self.corner), [visible(name) for name, _ in self.rows]
        label = max(map(cell_len, (corner, *names)))
        parts: list[RenderableType] = [Text(visible(self.title), "bold")]
        start = 0
        while start < len(columns):
            end, used = start + 1, label + 2 + widths[start] + 2
            while end < len(columns) and used + widths[end] + 2 <= width:
                used, end = used + widths[end] + 2, end + 1
            table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
            table.add_column(Text(corner), no_wrap=True)
            for column in columns[start:end]:
                table.add_column(Text(column), justify="right", no_wrap=True)
            for name, (_, cells) in zip(names, self.rows, strict=True):
                table.add_row(Text(name), *(_rich(cell, styled) for cell in cells[start:end]))
            parts.append(table)
            start = end
        return parts

    def to_markdown(self) -> str:
        """The title as a heading, then the whole table."""
        lines = [[to_markdown(name) for name in (self.corner, *self.columns)]]
        lines += [[to_markdown(name), *(_markdown(cell) for cell in cells)] for name, cells in self.rows]
        lines.insert(1, ["---"] + ["---:"] * len(self.columns))
        return f"## {to_markdown(self.title)}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def to_latex(self, caption: str = "") -> str:
        """A table with booktabs' rules; what stands second in a cell becomes a line of its own."""
        lines = [rf"{to_latex(self.corner)} & {' & '.join(map(to_latex, self.columns))} \\"]
        for name, cells in self.rows:
            shown = (LATEX.get(cell.emphasis, "%s") % to_latex(cell.first) for cell in cells)
            lines.append(rf"{to_latex(name)} & {' & '.join(shown)} \\")
            if any(cell.second for cell in cells):
                below = (rf"{{\footnotesize {to_latex(cell.second)}}}" if cell.second else "" for cell in cells)
                lines.append(rf" & {' & '.join(below)} \\")
        lines.insert(1, r"\midrule")
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{to_latex(f'{self.title}. {caption}'.strip())}}}",
                rf"\begin{{tabular}}{{l{'r' * len(self.columns)}}}",
                r"\toprule",
                *lines,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    @property
    def pixels(self) -> float:
        """About how wide it is on the page."""
        widths = [max(map(cell_len, map(visible, (self.corner, *(name for name, _ in self.rows)))))]
        widths += [
            max(cell_len(visible(column)), *(_width(cells[i]) for _, cells in self.rows)) if self.rows else 0
            for i, column in enumerate(self.columns)
        ]
        return LETTER * sum(widths) + PADDING * len(widths)

    def turned(self) -> "Grid":
        """Its columns as rows."""
        rows = tuple((column, tuple(cells[i] for _, cells in self.rows)) for i, column in enumerate(self.columns))
        return Grid(self.title, "", tuple(name for name, _ in self.rows), rows)

    def to_html(self) -> str:
        """A figure with the title as its caption, turned where that spares the reader to scroll sideways.

        Tables that are too wide either way scroll by themselves.
        """
        turned = self.turned()
        return (turned if self.pixels > PAGE >= turned.pixels else self)._html()

    def _html(self) -> str:
        head = "".join(f'<th scope="col">{to_html(name)}</th>' for name in (self.corner, *self.columns))
        rows = (
            f'<tr><th scope="row">{to_html(name)}</th>{"".join(map(_html, cells))}</tr>' for name, cells in self.rows
        )
        return (
            f"<figure><figcaption>{to_html(self.title)}</figcaption>"
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
            "</figure>"
        )


def frame_grid(frame: pd.DataFrame, title: str) -> Grid:
    """Any small table: the first column labels the rows. Numbers have four digits, missing ones are dashes."""

    def show(value: object) -> str:
        if pd.isna(value):  # type: ignore[call-overload]
            return "-"
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    rows = tuple((show(row[0]), tuple(Cell(show(value)) for value in row[1:])) for row in frame.itertuples(index=False))
    return Grid(title, str(frame.columns[0]), tuple(map(str, frame.columns[1:])), rows)


def p_cell(p: float) -> Cell:
    """A p-value in a column of them; a dash where nothing was tested."""
    return Cell(format_p(p).removeprefix("p").removeprefix("=") if pd.notna(p) else "-")


def _width(cell: Cell) -> int:
    return max(cell_len(visible(cell.first)) + len(MARKS.get(cell.emphasis, "")), cell_len(visible(cell.second)))


def _rich(cell: Cell, styled: bool) -> Text:
    mark = "" if styled else MARKS.get(cell.emphasis, "")
    second = f"\n{visible(cell.second)}" if cell.second else ""
    return Text.assemble(mark, (visible(cell.first), STYLES[cell.emphasis]), (second, "dim"))


def _markdown(cell: Cell) -> str:
    first = MARKDOWN.get(cell.emphasis, "{}").format(to_markdown(cell.first))
    return f"{first} {to_markdown(cell.second)}".rstrip()


def _html(cell: Cell) -> str:
    second = f'<span class="below">{to_html(cell.second)}</span>' if cell.second else ""
    return f'<td class="{cell.emphasis}"><span>{to_html(cell.first)}</span>{second}</td>'
