"""A part of a report: tables, words, files and pictures on one question."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pandas as pd
from rich.console import RenderableType
from rich.text import Text

from analysis.grid import Grid


@dataclass(frozen=True)
class Section:
    """What `table.md`, the page, the terminal and the report's folder get of one question."""

    grids: tuple[Grid, ...] = ()
    words: tuple[str, ...] = ()
    """Paragraphs below the tables in `table.md`."""
    printed: tuple[str, ...] | None = None
    """Paragraphs in the terminal; None: the same as in `table.md`."""
    prints_grids: bool = True
    """Whether the terminal shows the tables, too."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """By name. Pictures are shown in `table.md`."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """Captions of those files that are pictures."""
    heading: str = ""
    """Without one, the section continues the one before."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.grids or self.words or self.pictures)

    def to_markdown(self, about: str) -> Iterator[str]:
        """Paragraphs; `about` (empty where it isn't known) says below every table what it is computed on."""
        words = list(self.words)
        if self.heading and not self.grids and not self.empty:
            yield f"## {self.heading}"
        if about and self.grids:
            words.append(f"Computed on: {about}")
        yield from (grid.to_markdown() for grid in self.grids)
        yield from words
        yield from (f"![{caption}]({name})" for name, caption in self.pictures.items())

    def to_rich(self, width: int, styled: bool) -> Iterator[RenderableType]:
        """What is printed, with an empty line at the end; nothing where there is nothing to print."""
        words = self.words if self.printed is None else self.printed
        for grid in self.grids if self.prints_grids else ():
            yield from grid.to_rich(width, styled)
        yield from (Text(paragraph, "dim") for paragraph in words)
        if words or (self.grids and self.prints_grids):
            yield ""


def to_csv(frame: pd.DataFrame) -> bytes:
    """A frame without its index as CSV, numbers with six digits."""
    return frame.to_csv(index=False, float_format="%.6g").encode()
