"""What does the study itself add? Pictures that it drew, and tables that it made."""

import re

import pandas as pd

from analysis.report.data import ReportData
from analysis.report.grid import frame_grid
from analysis.report.section import Part, Section, to_csv

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""What pictures and tables that are handed in may be called, but for the suffix."""


def section(data: ReportData) -> Section | None:
    """The study's tables and pictures, by their names.

    Raises:
        ValueError: a name can't be a file's.
    """
    parts = []
    for name, frame in data.supplement.tables.items():
        _check_name(name)
        index = not isinstance(frame.index, pd.RangeIndex)
        frame = frame.reset_index() if index else frame
        grid = frame_grid(frame, name.replace("_", " ").capitalize())
        parts.append(Part((grid,), printed=(), prints_grids=False, files={f"{name}.csv": to_csv(frame)}))
    for name, content in data.supplement.pictures.items():
        stem = name.removesuffix(".png")
        _check_name(stem)
        caption = stem.replace("_", " ").capitalize()
        parts.append(Part(printed=(), files={f"{stem}.png": content}, pictures={f"{stem}.png": caption}))
    return Section("", tuple(parts)) if parts else None


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"a picture or table is called {name!r}; expected letters, digits, _ and -")
