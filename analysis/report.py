"""A study's report: collect, score, test; write the tables and figures, and print the tables."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from rich.console import Console
from rich.text import Text

from analysis.caption import describe
from analysis.collect import collect
from analysis.figure import Title
from analysis.record import Run
from analysis.scores import image_scores, summarise
from analysis.sections import control_sections, difficulty_section, extra_sections, score_section, verdict_section
from analysis.significance import compare
from metaseg.storage import Storage

PLAIN_WIDTH = 110
"""Columns of the output where it isn't a terminal."""


@dataclass(frozen=True)
class Report:
    """What is known of a study now."""

    study: str
    cells: pd.DataFrame
    """Mean F1 by class, arm and subgroup (`analysis.scores.summarise`)."""
    tests: pd.DataFrame
    """Arms against the baseline (`analysis.significance.compare`)."""
    missing: tuple[Run, ...]
    """Runs that aren't finished; the numbers are without them."""
    files: tuple[str, ...]
    """What was written: absolute paths or URLs."""


def report(
    storage: Storage,
    study: str,
    out: Storage | None = None,
    pictures: Mapping[str, bytes] = {},
    tables: Mapping[str, pd.DataFrame] = {},
) -> Report:
    """Report on a study's finished runs: write files, print the tables.

    Args:
        storage: the store's, with `studies` and `runs`.
        study: its name.
        out: for table.md and what it shows, each table and figure as a file too; the store's `reports/<study>` by
            default.
        pictures: PNGs that the study drew, by file name ("overlays.png"), to be shown at the end of table.md.
        tables: small tables of the study ("distribution"), to be written as CSV and shown in table.md.

    Raises:
        analysis.collect.ResultsError: the store's content can't be made into results; the message names the file.
        OSError: something can't be read or written.
        ValueError: a picture or table has the name of one of the report's own files, or one that can't be a file's.
    """
    collected = collect(storage, study)
    declared, column = collected.study, collected.subgroup_column
    scores = image_scores(collected.images, declared.arms)
    cells = summarise(scores, declared.average)
    tests = compare(scores, declared.baseline, declared.average)

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    by = f" by {column}" if scores["subgroup"].nunique() > 1 else ""
    incomplete = " (INCOMPLETE)" if collected.missing else ""
    figure = Title(f"{study}: F1 on test images of {declared.dataset}{incomplete}", declared.about)
    score_title = f"F1 of each arm{by}{incomplete}"
    sections = [
        score_section(collected, scores, cells, score_title, figure, console.is_terminal),
        verdict_section(collected, tests, f"Did metadata help? Each arm against {declared.baseline}{by}{incomplete}"),
        *control_sections(collected, figure),
        difficulty_section(collected),
        *extra_sections(pictures, tables),
    ]

    title = f"Study {study}: F1 with and without metadata"
    data = f"Data: {declared.about}" if declared.about else ""
    about = describe(collected)
    markdown = [f"# {title}", f"**{data}**" if data else "", *about, f"Command: `{declared.command}`"]
    contents: dict[str, bytes] = {"table.md": b""}
    for section in sections:
        markdown += section.to_markdown(declared.about)
        if taken := sorted(contents.keys() & section.files.keys()):
            raise ValueError(f"a picture or table is called {taken[0]}, as is one of the report's own files; rename it")
        contents |= section.files
    contents["table.md"] = ("\n\n".join(part.rstrip() for part in markdown if part) + "\n").encode()
    target, folder = (out, "") if out else (storage, f"reports/{study}/")
    for name, content in contents.items():
        target.write(folder + name, content)

    for part in (Text(title, "bold"), *([Text(data, "bold")] if data else []), *map(Text, about), ""):
        console.print(part)
    for section in sections:
        for shown in section.to_rich(console.width, console.is_terminal):
            console.print(shown)
    files = (*(target.locate(folder + name) for name in contents), collected.path)
    console.print(Text("Written:\n" + "\n".join(f"  {file}" for file in files)), soft_wrap=True)
    return Report(study, cells, tests, collected.missing, files)
