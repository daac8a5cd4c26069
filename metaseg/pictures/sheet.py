"""The sheet that pictures are drawn on: rows of panels with titles, a legend and a caption, without overlaps."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from analysis.figures.glyphs import drawable, to_plain_png

_CELL, _GAP, _LINE, _MARGIN = 2.1, 0.1, 0.15, 0.1
"""Inches: width of a panel, space between two, height of a line of small text, the figure's margin."""
_SMALL, _LARGE = 8, 10
"""Points: sizes of text."""
_ADVANCE = 0.0088
"""Inches: width of a character of 1 point, generously."""
_DPI = 160


class Sheet:
    """Panels in rows, placed in inches: texts are wrapped to their width, and the figure grows with them.

    The titles of a row are left out if they equal those of the row above.

    Args:
        shapes: shape of the images in each row, `(H, W)`.
        titles: titles of the panels in each row.
        labels: label of each row, on its left.
        title: above the panels.
        about: the caption beneath.
        entries: entries of the legend.
        right: free space on the right, in inches.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        titles: Sequence[Sequence[str]],
        labels: Sequence[str],
        title: str,
        about: str,
        entries: Sequence[Artist],
        right: float = _MARGIN,
    ) -> None:
        heights = [_CELL * float(np.clip(height / width, 0.4, 2)) for height, width in shapes]
        named = [_wrap(label, height) for label, height in zip(labels, heights, strict=True)]
        self._left = 0.1 + _LINE * max(map(_lines, named))
        width = self._left + max(map(len, titles)) * (_CELL + _GAP) - _GAP + right
        head, foot = _wrap(title, width - 0.2, _LARGE), _wrap(about, width - 0.2)
        above = [
            [] if k and titles[k] == titles[k - 1] else [_wrap(text, _CELL) for text in titles[k]]
            for k in range(len(titles))
        ]
        room = [_LINE * max(map(_lines, texts), default=0) for texts in above]
        longest = max(len(str(entry.get_label())) for entry in entries)
        columns = max(1, int((width - 0.2) / (0.6 + longest * _SMALL * _ADVANCE)))
        legend = 0.2 * -(-len(entries) // columns)
        header = 0.1 + (_lines(head) * 1.3 * _LINE + 0.05 if head else 0)
        footer = 0.1 + _lines(foot) * _LINE + legend + 0.1
        height = header + sum(heights) + sum(room) + _GAP * len(heights) + footer

        self._size = np.array([width, height])
        self._figure = Figure(figsize=(width, height))
        FigureCanvasAgg(self._figure)
        self._text(0.1, 0.1, head, _LARGE)
        self._text(0.1, height - 0.1 - _lines(foot) * _LINE, foot, _SMALL, color="#555555")
        self._figure.legend(
            handles=entries, ncols=columns, loc="upper left", frameon=False, fontsize=_SMALL, borderaxespad=0,
            borderpad=0, bbox_to_anchor=(0.1 / width, 1 - (height - footer + 0.05) / height),
        )  # fmt: skip
        self._axes: list[list[Axes]] = []
        top = header
        for k, tall in enumerate(heights):
            for column, text in enumerate(above[k]):
                middle = self._left + column * (_CELL + _GAP) + _CELL / 2
                self._text(middle, top + room[k] - 0.03, text, _SMALL, ha="center", va="bottom")
            top += room[k]
            self._text(self._left - 0.05, top + tall / 2, named[k], _SMALL, rotation=90, ha="right", va="center")
            self._axes.append([
                self._panel(self._left + column * (_CELL + _GAP), top, _CELL, tall) for column in range(len(titles[k]))
            ])  # fmt: skip
            top += tall + _GAP

    def axes(self) -> list[list[Axes]]:
        """The panels, row by row."""
        return self._axes

    def colour_bar(self, label: str) -> None:
        """Add the scale of 0 to 1 on the right of the first row."""
        box = self._axes[0][-1].get_position()
        inches = 1 / self._size[0]
        axis = self._figure.add_axes((box.x1 + 0.08 * inches, box.y0, 0.12 * inches, box.height))
        bar = self._figure.colorbar(ScalarMappable(cmap="viridis"), cax=axis, ticks=[0, 0.5, 1])
        bar.set_label(label, fontsize=_SMALL, labelpad=1)
        axis.tick_params(labelsize=_SMALL, length=2, pad=2)

    def png(self) -> bytes:
        """Return the finished sheet as a PNG."""
        return to_plain_png(self._figure, _DPI)

    def _panel(self, left: float, top: float, wide: float, tall: float) -> Axes:
        width, height = self._size
        axis = self._figure.add_axes((left / width, 1 - (top + tall) / height, wide / width, tall / height))
        axis.set(xticks=[], yticks=[])
        return axis

    def _text(self, left: float, top: float, text: str, size: int, va: str = "top", **style: Any) -> None:
        width, height = self._size
        place = left / width, 1 - top / height
        self._figure.text(*place, text, fontsize=size, va=va, linespacing=1.2, **style)


def _wrap(text: str, inches: float, size: int = _SMALL) -> str:
    """Wrap a text to lines that fit into `inches`; line breaks are kept."""
    characters = max(1, int(inches / (size * _ADVANCE)))
    return "\n".join(line for part in drawable(text).split("\n") for line in textwrap.wrap(part, characters))


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0
