"""A section of a report: tables, words, files and pictures on one question."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from rich.console import RenderableType
from rich.text import Text

from analysis.figures.glyphs import Drawing
from analysis.report.grid import Grid
from analysis.report.plain_text import to_csv_text, to_markdown, to_markdown_paragraph
from metaseg.terminal import visible

NO_TABLES: Mapping[str, bytes] = {}


@dataclass(frozen=True)
class Part:
    """Tables, what is said of them, and pictures, in this order."""

    grids: tuple[Grid, ...] = ()
    words: tuple[str, ...] = ()
    """Paragraphs below the tables, in `table.md` and on the page."""
    printed: tuple[str, ...] | None = None
    """Paragraphs in the terminal; None: the same as in `table.md`."""
    prints_grids: bool = True
    """Whether the terminal shows the tables, too."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """By name."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """Captions of those files that are pictures."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.grids or self.words or self.pictures)

    def to_markdown(self, about: str) -> Iterator[str]:
        """Paragraphs; `about` (empty where it isn't known) says below every table what it is computed on."""
        words = list(self.words)
        if about and self.grids:
            words.append(f"Computed on: {about}")
        yield from (grid.to_markdown() for grid in self.grids)
        yield from map(to_markdown_paragraph, words)
        yield from (f"![{to_markdown(caption)}]({name})" for name, caption in self.pictures.items())

    def to_rich(self, width: int, styled: bool) -> Iterator[RenderableType]:
        """What is printed, with an empty line at the end; nothing where there is nothing to print."""
        words = self.words if self.printed is None else self.printed
        for grid in self.grids if self.prints_grids else ():
            yield from grid.to_rich(width, styled)
        yield from (Text(visible(paragraph), "dim") for paragraph in words)
        if words or (self.grids and self.prints_grids):
            yield ""


@dataclass(frozen=True)
class Section:
    """Everything that a report says on one question: on the page, in `table.md`, in the terminal and as files."""

    heading: str
    """Without one, the section continues the one before."""
    parts: tuple[Part, ...]
    methods: tuple[str, ...] = ()
    """Sentences for the paragraph on methods: what was done to answer the question."""
    sources: tuple[str, ...] = ()
    """What these sentences cite."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return all(part.empty for part in self.parts)

    @property
    def grids(self) -> tuple[Grid, ...]:
        """All tables."""
        return tuple(grid for part in self.parts for grid in part.grids)

    @property
    def words(self) -> tuple[str, ...]:
        """All paragraphs."""
        return tuple(paragraph for part in self.parts for paragraph in part.words)

    @property
    def files(self) -> dict[str, bytes]:
        """All files by name."""
        return {name: content for part in self.parts for name, content in part.files.items()}

    def to_markdown(self, about: str) -> Iterator[str]:
        """Paragraphs, below the heading where no table's title comes first; `about` as in `Part.to_markdown`."""
        if self.heading and not self.empty and not self.parts[0].grids:
            yield f"## {to_markdown(self.heading)}"
        for part in self.parts:
            yield from part.to_markdown(about)

    def to_rich(self, width: int, styled: bool) -> Iterator[RenderableType]:
        """What is printed."""
        for part in self.parts:
            yield from part.to_rich(width, styled)


def picture(
    name: str, drawing: Drawing, caption: str, words: tuple[str, ...] = (), tables: Mapping[str, bytes] = NO_TABLES
) -> Part:
    """A figure with its caption, which the terminal doesn't show: the page has its PNG, beside it lies an SVG.

    Args:
        name: of its files, without a suffix.
        drawing: the figure.
        caption: above it.
        words: paragraphs above it.
        tables: CSV files with its numbers.
    """
    files = {f"{name}.png": drawing.png, f"{name}.svg": drawing.svg, **tables}
    return Part((), words, (), files=files, pictures={f"{name}.png": caption})


def to_csv(frame: pd.DataFrame, digits: int | None = 6) -> bytes:
    """A frame without its index as CSV, numbers with so many digits (None: all), text as `to_csv_text` has it."""
    texts = frame.select_dtypes(exclude=["number", "bool"])
    plain = frame.rename(columns=_csv_cell).assign(
        **{str(_csv_cell(name)): texts[name].astype(object).map(_csv_cell) for name in texts}
    )
    settings: dict[str, Any] = {"index": False, "float_format": f"%.{digits}g" if digits else None}
    written: str = plain.to_csv(**settings)
    if "\r" in written:  # which is quoted only where lines end in it
        written = plain.to_csv(**settings, lineterminator="\r\n")
    return written.encode(errors="backslashreplace")


def _csv_cell(value: object) -> object:
    return to_csv_text(value) if isinstance(value, str) else value
