"""What all figures share: width, fonts, and where title, legend and note stand."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.figures.glyphs import Drawing
from analysis.figures.scores import Title, arm_styles, to_drawing, to_png

WIDTH = 7.0
"""Inches of every figure: on a page 700 pixels wide, `SMALL` is 11 pixels high. What needs space grows downwards."""

SMALL = 8.0
"""Points of the smallest text."""

LINE = 0.17
"""Inches of a line of text."""

NOTE_CHARACTERS = 112
"""Of a line of `SMALL` text across the figure."""

LEGEND_CHARACTERS = 92
LABEL_CHARACTERS = 40
GREY = "#888888"

MOST_OUTLINES = 5000
"""Points of a panel that an SVG has one by one; more are pixels in it, so that it can be opened."""

Line = Literal["-", "--", "-.", ":"]

Styles = Mapping[str, tuple[str, str]]
"""Colour and marker by name."""


def new_figure(height: float) -> Figure:
    """A figure of `WIDTH` by `height` inches, title, legend and note not counted; each of these adds its own."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def shown(column: pd.Series) -> list[str]:
    """Names in a column: in the order of its categories if it has one, else as they first appear."""
    present = column.drop_duplicates().dropna()
    return [str(name) for name in (present.sort_values() if isinstance(column.dtype, pd.CategoricalDtype) else present)]


def styles_of(column: pd.Series, baseline: str) -> Styles:
    """Colour and marker of each arm; categories that don't appear count, so that a study's figures agree."""
    known = column.dtype.categories if isinstance(column.dtype, pd.CategoricalDtype) else column.unique()
    return arm_styles([str(name) for name in known], baseline)


def wrapped(text: str) -> str:
    """A label of a panel of half the width, broken into lines."""
    return textwrap.fill(text, LABEL_CHARACTERS)


def signed(difference: float) -> str:
    """A difference of F1 with its sign, to three decimals."""
    return f"{round(difference, 3) + 0.0:+.3f}"  # + 0.0: no -0.000


def span(counts: pd.DataFrame | pd.Series) -> str:
    """Counts in words: "3", or "3 to 5" where they differ."""
    low, high = counts.to_numpy().min(), counts.to_numpy().max()
    return f"{low}" if low == high else f"{low} to {high}"


def tidy(axis: Axes, grid: Literal["both", "x", "y"] = "both") -> None:
    """Thin grid behind the data, no frame, small numbers."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis=grid, color="#e3e3e3", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=SMALL)


def arm_handles(arms: Sequence[str], styles: Styles, lines: Mapping[str, Line] | None = None) -> list[Artist]:
    """What a legend shows of arms: their markers, and lines where they have any."""
    return [
        Line2D([], [], color=styles[arm][0], marker=styles[arm][1], markersize=5, label=arm,
               linestyle=lines[arm] if lines else "")
        for arm in arms
    ]  # fmt: skip


def foot(figure: Figure, note: str, handles: Sequence[Artist] = ()) -> None:
    """A legend below the panels, in as many columns as fit, and a paragraph below that."""
    lines = textwrap.wrap(note, NOTE_CHARACTERS)
    for_note, rows = LINE * len(lines) + 0.1, 0
    inches = figure.dpi_scale_trans
    figure.text(0.07, 0.06, "\n".join(lines), transform=inches, va="bottom", fontsize=SMALL, color="#444444")
    if handles:
        lengths = [len(str(handle.get_label())) + 8 for handle in handles]
        columns = len(handles) if sum(lengths) <= LEGEND_CHARACTERS else max(1, LEGEND_CHARACTERS // max(lengths))
        rows = -(-len(handles) // columns)
        figure.legend(
            handles=handles, loc="lower center", bbox_to_anchor=(WIDTH / 2, for_note), bbox_transform=inches,
            ncols=columns, frameon=False, fontsize=SMALL, handlelength=2.6, borderaxespad=0,
        )  # fmt: skip
    _grow(figure, for_note + (LINE * rows + 0.18 if rows else 0.05), below=True)


def render(figure: Figure, title: Title) -> bytes:
    """The figure as a PNG, higher by the lines of its title."""
    _grow_for(figure, title)
    return to_png(figure, title)


def rendered(figure: Figure, title: Title) -> Drawing:
    """The same as a PNG and an SVG."""
    _grow_for(figure, title)
    return to_drawing(figure, title)


def _grow_for(figure: Figure, title: Title) -> None:
    lines = len(title.text + title.about) / (WIDTH * 12) + 2
    _grow(figure, LINE * lines)


def _grow(figure: Figure, inches: float, below: bool = False) -> None:
    """Add to the height; below: as room that panels don't take."""
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    old = figure.get_figheight()
    free = engine.get()["rect"][1] * old + (inches if below else 0)
    figure.set_figheight(old + inches)
    engine.set(rect=(0, free / (old + inches), 1, 1 - free / (old + inches)))


def plain_log_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5, written as plain numbers."""
    axis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
