"""A study's report: collect, score, test; write the tables and a figure, and print the tables."""

from dataclasses import dataclass

import pandas as pd
from rich.console import Console, RenderableType
from rich.text import Text

from analysis.caption import caption_scores, caption_tests, describe
from analysis.collect import Run, collect
from analysis.figure import draw
from analysis.scores import image_scores, summarise
from analysis.significance import compare
from analysis.table import MARKS, score_grids, verdict_grids
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


def report(storage: Storage, study: str, out: Storage | None = None) -> Report:
    """Report on a study's finished runs: write files, print the tables.

    Args:
        storage: the store's, with `studies` and `runs`.
        study: its name.
        out: for table.md, table.csv, tests.csv and f1.png; the store's `reports/<study>` by default.

    Raises:
        analysis.collect.ResultsError: the store's content can't be made into results; the message names the file.
        OSError: something can't be read or written.
    """
    collected = collect(storage, study)
    arms, baseline, column = collected.study.arms, collected.study.baseline, collected.subgroup_column
    scores = image_scores(collected.images, arms)
    cells, tests = summarise(scores), compare(scores, baseline)

    by = f" by {column}" if scores["subgroup"].nunique() > 1 else ""
    incomplete = " (INCOMPLETE)" if collected.missing else ""
    title = f"Study {study}: F1 with and without metadata"
    about = describe(collected)
    score_tables = score_grids(cells, arms, f"F1 of each arm{by}{incomplete}")
    verdict_tables = verdict_grids(tests, f"Did metadata help? Each arm against {baseline}{by}{incomplete}", column)
    verdict_caption = caption_tests(tests, baseline)

    figure_title = f"{study}: F1 on test images of {collected.study.dataset}{incomplete}"
    markdown = [
        f"# {title}",
        *about,
        f"Command: `{collected.study.command}`",
        *(grid.to_markdown() for grid in score_tables),
        caption_scores(cells, scores, "in **bold**", "<u>underlined</u>"),
        *(grid.to_markdown() for grid in verdict_tables),
        *verdict_caption,
        "![F1 of each arm and seed](f1.png)",
    ]
    contents = {
        "table.md": ("\n\n".join(part.rstrip() for part in markdown) + "\n").encode(),
        "table.csv": cells.to_csv(index=False, float_format="%.6g").encode(),
        "tests.csv": tests.to_csv(index=False, float_format="%.6g").encode(),
        "f1.png": draw(scores, arms, baseline, figure_title, column),
    }
    target, folder = (out, "") if out else (storage, f"reports/{study}/")
    for name, content in contents.items():
        target.write(folder + name, content)

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    best, second = (
        ("in bold", "underlined") if console.is_terminal else (f"marked {MARKS['best']}", f"marked {MARKS['second']}")
    )
    parts: list[RenderableType] = [Text(title, "bold"), *map(Text, about), ""]
    for tables, caption in (
        (score_tables, [caption_scores(cells, scores, best, second)]),
        (verdict_tables, verdict_caption),
    ):
        parts += [part for grid in tables for part in grid.to_rich(console.width, console.is_terminal)]
        parts += [*(Text(paragraph, "dim") for paragraph in caption), ""]
    files = (*(target.locate(folder + name) for name in contents), collected.path)
    for part in parts:
        console.print(part)
    console.print(Text("Written:\n" + "\n".join(f"  {file}" for file in files)), soft_wrap=True)
    return Report(study, cells, tests, collected.missing, files)
