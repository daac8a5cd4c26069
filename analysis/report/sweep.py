"""A sweep's report: one page that needs nothing else, with tables, figures and trials beside it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.text import Text

from analysis.figures.scores import Title
from analysis.report.html import to_html
from analysis.report.kept_options import keep_options, sweep_options
from analysis.report.plain_text import to_markdown, to_markdown_paragraph
from analysis.report.section import Section
from analysis.report.study import PLAIN_WIDTH, folder_name
from analysis.report.sweep_data import SweepData
from analysis.report.sweep_sections import SECTIONS
from analysis.sweeps.importance import importance
from analysis.sweeps.trials import Sweep, read_sweep, read_trials
from analysis.sweeps.wording import result_sentences, search_sentences
from metaseg.store.storage import Storage
from metaseg.terminal import Terminal


@dataclass(frozen=True)
class SweepReport:
    """The results of a sweep as they are now."""

    sweep: Sweep
    trials: pd.DataFrame
    """Trials, from `analysis.sweeps.trials.read_trials`."""
    result: tuple[str, ...]
    """The findings, in sentences."""
    files: tuple[str, ...]
    """The files that were written: absolute paths or URLs."""


def report_sweep(storage: Storage, name: str, out: Storage | None = None) -> SweepReport:
    """Report on a sweep: write report.html, table.md, trials.csv, tables and figures, and print what was found.

    The same trials give the same report.

    Args:
        storage: the store's, with `sweeps`.
        name: the sweep's.
        out: where to write; the store's `reports/sweeps/<name>` by default.

    Raises:
        analysis.results.declaration.ResultsError: no such sweep, or its files are malformed; the message names the
        file.
        OSError: something can't be read or written.
    """
    sweep = read_sweep(storage, name)
    trials = read_trials(storage, sweep)
    title = Title(f"Sweep {name}, arm {sweep.arm}", sweep.about)
    ranked = importance(trials, sweep, np.random.default_rng(0))
    measured = SweepData(sweep, trials, ranked, title, storage.locate(f"sweeps/{name}/trials.parquet"))
    sections = [found for section in SECTIONS if (found := section(measured)) is not None]
    heading = f"Sweep {name}: settings for arm {sweep.arm} on {sweep.dataset}"
    data = f"Data: {sweep.about}" if sweep.about else ""
    about, result = search_sentences(sweep, trials), result_sentences(sweep, trials)
    contents = {
        "report.html": to_html(heading, data, result, about, sections).encode(),
        "table.md": _markdown(heading, data, result, about, sections, sweep.about).encode(),
    }
    for section in sections:
        contents |= section.files
    target, folder = (out, "") if out else (storage, f"reports/sweeps/{folder_name(name)}/")
    for file, content in contents.items():
        target.write(folder + file, content)
    _print(heading, data, about, result, sections, target.locate(f"{folder}report.html"), len(contents) - 1)
    kept = keep_options(sweep_options(storage, name), target, folder)
    files = (*(target.locate(folder + file) for file in contents), *kept)
    return SweepReport(sweep, trials, tuple(result), files)


def _markdown(
    heading: str, data: str, result: list[str], about: list[str], sections: list[Section], computed_on: str
) -> str:
    parts = [
        f"# {to_markdown(heading)}",
        f"**{to_markdown(data)}**" if data else "",
        *(f"> {to_markdown_paragraph(each)}" for each in result),
        *map(to_markdown_paragraph, about),
    ]
    for section in sections:
        parts += section.to_markdown(computed_on)
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def _print(
    heading: str, data: str, about: list[str], result: list[str], sections: list[Section], page: str, others: int
) -> None:
    console = Terminal()
    if not console.is_terminal:
        console = Terminal(width=PLAIN_WIDTH)
    for part in (Text(heading, "bold"), *([Text(data, "bold")] if data else []), *map(Text, about), ""):
        console.print(part)
    for section in sections:
        for shown in section.to_rich(console.width, console.is_terminal):
            console.print(shown)
    for sentence in result:
        console.print(Text(sentence, "bold"))
    closing = f"\nThe report, to read and to pass on:\n  {page}\nBeside it {others} tables and figures"
    console.print(Text(closing), soft_wrap=True)
