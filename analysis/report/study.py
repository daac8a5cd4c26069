"""A study's report: score, test, write tables, figures and a page, and print the main tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from rich.text import Text

from analysis.figures.glyphs import letters, not_drawn
from analysis.figures.learning import read_history
from analysis.report.conclusion import conclude
from analysis.report.data import ReportData, Supplement, report_data
from analysis.report.declared import sees_metadata
from analysis.report.first_screen import OVERLAYS, first_screen
from analysis.report.html import to_html
from analysis.report.kept_options import keep_options, study_options
from analysis.report.opening import describe, missing_runs
from analysis.report.plain_text import to_markdown, to_markdown_paragraph
from analysis.report.section import Section
from analysis.report.sections import SECTIONS
from analysis.report.sections.provenance import provenance
from analysis.results.declaration import ResultsError, Run
from analysis.results.looks import read_looks
from analysis.results.merge import collect
from analysis.results.observers import read_observers
from analysis.results.store_rows import Collected
from analysis.scores.extra_scores import METRICS as EXTRA_METRICS
from analysis.scores.extra_scores import with_scores
from analysis.sweeps.trials import read_arm_sweeps
from metaseg.notebook import counted, html_table
from metaseg.schema import OVERALL
from metaseg.store.storage import Storage, open_storage
from metaseg.terminal import Terminal, visible

NOTHING_ELSE = Supplement()
"""For results that come without a store."""

DRAWN_OF = "overlays.json"
"""Ids of the runs that the report's picture shows."""

PLAIN_WIDTH = 110
"""Columns of the output where it isn't a terminal."""


@dataclass(frozen=True)
class Report:
    """The results of a study as they are now."""

    study: str
    result: tuple[str, ...]
    """The conclusion, in sentences."""
    cells: pd.DataFrame
    """Mean F1 by class, arm and subgroup (`analysis.scores.image_scores.summarise`)."""
    tests: pd.DataFrame
    """The declared comparisons (`analysis.stats.comparisons.compare`)."""
    missing: tuple[Run, ...]
    """Runs that aren't finished; the numbers are without them."""
    files: tuple[str, ...]
    """The files that were written: absolute paths or URLs."""

    def __repr__(self) -> str:
        return f"<Report on study {self.study!r}: {' '.join(self.result)}>"

    def _repr_html_(self) -> str:
        overall = self.tests[self.tests["subgroup"] == OVERALL]
        several = overall["class"].nunique() > 1
        columns = [*(["class"] if several else []), "arm", "reference", "difference", "ci_low", "ci_high", "verdict"]
        rows = (
            tuple(value if isinstance(value, float) else str(value) for value in row)
            for row in overall[columns].itertuples(index=False)
        )
        missing = f"INCOMPLETE: {counted(len(self.missing), 'run')} of the study missing." if self.missing else ""
        page = next((file for file in self.files if file.endswith("report.html")), "")
        return html_table(f"Report on study {self.study}", columns, rows, (missing, *self.result, page))


def report(
    storage: Storage,
    study: str,
    out: Storage | None = None,
    pictures: Mapping[str, bytes] = {},
    tables: Mapping[str, pd.DataFrame] = {},
    metric: str = "f1",
) -> Report:
    """Report on a study of a store: collect its finished runs, write files, print the tables.

    Args:
        storage: the store's, with `studies` and `runs`.
        study: its name.
        out: for report.html, table.md, table.tex and each table and figure; the store's `reports/<study>` by default.
        pictures: PNGs that the study drew, by file name. "overlays.png" stands on the first screen; where it isn't
            given, the one of the study's last report is taken, if all its runs are finished.
        tables: small tables of the study ("distribution"), to be written as CSV and shown at the end.
        metric: what to score by: one of `analysis.scores.metrics.METRICS`, or of
            `analysis.scores.extra_scores.METRICS` where `metaseg score` has made them. Others than f1 have a report of
            their own, `reports/<study>-<metric>`.

    Raises:
        analysis.results.store_rows.ResultsError: the store's content can't be made into results; the message names the
        file.
        OSError: something can't be read or written.
        ValueError: a picture or table has the name of one of the report's own files, or one that can't be a file's.
    """
    collected = collect(storage, study)
    pictures = dict(pictures)
    if OVERLAYS not in pictures:
        pictures |= _drawn_before(storage, collected)
    supplement = Supplement(
        read_history(storage, collected.study),
        provenance(storage, collected),
        pictures,
        tables,
        read_arm_sweeps(storage, study),
        [name.removesuffix(".json") for name in storage.names("failures")],
        read_looks(storage, study) if collected.study.sequential else (),
        read_observers(storage, study),
    )
    collected, about = scored_by(collected, storage, metric)
    target, folder = (out, "") if out else (storage, report_folder(study, metric))
    written = write_report(collected, target, folder, about, supplement)
    if OVERLAYS in pictures:
        storage.write(f"{report_folder(study, 'f1')}{DRAWN_OF}", _drawn_of(collected))
    kept = keep_options(study_options(storage, study), target, folder)
    return replace(written, files=(*written.files, *kept))


def _drawn_before(storage: Storage, collected: Collected) -> dict[str, bytes]:
    """The picture of the study's last report, if it shows these very runs."""
    folder = report_folder(collected.study.name, "f1")
    if collected.missing or storage.read_or_none(f"{folder}{DRAWN_OF}") != _drawn_of(collected):
        return {}
    picture = storage.read_or_none(f"{folder}{OVERLAYS}")
    return {} if picture is None else {OVERLAYS: picture}


def _drawn_of(collected: Collected) -> bytes:
    """Ids of the runs that pictures are drawn of."""
    return (json.dumps(sorted(run.run_id for run in collected.study.runs)) + "\n").encode()


def report_folder(study: str, metric: str) -> str:
    """Where in a store a study's report lies, with a slash at the end."""
    name = folder_name(study)
    return f"reports/{name}/" if metric == "f1" else f"reports/{name}-{metric}/"


def folder_name(study: str) -> str:
    """A study's name as that of a folder, which it can't leave; what names can't hold is escaped as in URLs."""
    return quote(study, safe=" ") if study.strip(".") else "_"


def scored_by(collected: Collected, storage: Storage, metric: str) -> tuple[Collected, str]:
    """The results by a metric, and sentences on it; of `storage`, only the runs' extra scores are read."""
    if metric in EXTRA_METRICS:
        return with_scores(collected, storage, metric)
    if "score" in collected.images:
        if metric not in ("f1", collected.metric):
            raise ResultsError(f"these results are scores called {collected.metric!r}, not {metric!r}")
        return collected, ""
    return replace(collected, metric=metric), ""


def write_report(
    collected: Collected,
    target: Storage | Path | str,
    folder: str = "",
    about_metric: str = "",
    supplement: Supplement = NOTHING_ELSE,
) -> Report:
    """Report on results, wherever they are from.

    Args:
        collected: the results.
        target: the folder or URL to write to.
        folder: in it, with a slash at the end.
        about_metric: sentences on what scores are, where they need some.
        supplement: what else is known of the study.

    Example:
        >>> from contextlib import redirect_stdout
        >>> from io import StringIO
        >>> from pathlib import Path
        >>> from analysis import example_scores, read_results, write_report
        >>> from analysis.results.external_study import Table, adopt
        >>> from metaseg.store.storage import open_storage
        >>> example_scores(seeds=2, images=12).to_csv("scores.csv", index=False)
        >>> collected = adopt(open_storage("results"), [Table(Path("scores.csv"))], "example", {})
        >>> with redirect_stdout(StringIO()):
        ...     report = write_report(read_results("results", "example"), "report")
        >>> Path("report/report.html").is_file(), len(report.tests)
        (True, 3)
    """
    console = Terminal()
    if not console.is_terminal:
        console = Terminal(width=PLAIN_WIDTH)
    data = report_data(collected, supplement, console.is_terminal)
    declared, names = data.study, data.names
    sections = made_sections(data)

    question = "with and without metadata" if sees_metadata(collected) else "of each arm"
    title = f"Study {declared.name}: {names.score} {question}"
    computed_on = f"Data: {declared.about}" if declared.about else ""
    about, result = (
        describe(collected),
        conclude(data.tests, data.interactions, declared, data.column, names, data.uncounted),
    )
    about += [about_metric] if about_metric else []
    warning = missing_runs(collected)
    page = to_html(title, computed_on, result, about, sections, first_screen(data), warning)
    about = [warning, *about] if warning else about
    contents = _contents(title, computed_on, about, result, sections, declared.about)
    contents["report.html"] = page.encode()
    target = target if isinstance(target, Storage) else open_storage(str(target))
    for name, content in contents.items():
        target.write(folder + name, content)

    for part in (Text(title, "bold"), *([Text(computed_on, "bold")] if computed_on else []), *map(Text, about), ""):
        console.print(part)
    shown = [data.column, *(str(name) for kind in ("arm", "class", "subgroup") for name in data.scores[kind].unique())]
    if unseen := letters([data.figure.text, data.figure.about, *shown]):
        console.print(Text(not_drawn(unseen)), soft_wrap=True)
    for section in sections:
        for printed in section.to_rich(console.width, console.is_terminal):
            console.print(printed)
    for sentence in result:
        console.print(Text(sentence, "bold"))
    files = tuple(target.locate(folder + name) for name in contents)
    where, rest = f"{target.locate(folder + 'report.html')}", len(files) - 1
    console.print(
        Text(
            f"\nThe report, to read and to pass on:\n  {where}\n"
            f"Beside it {rest} tables and figures; rows: {collected.path}"
        ),
        soft_wrap=True,
    )
    return Report(declared.name, tuple(result), data.cells, data.tests, collected.missing, files)


def made_sections(data: ReportData) -> tuple[Section, ...]:
    """The sections that apply, in order."""
    made: tuple[Section, ...] = ()
    for section in SECTIONS:
        found = section(replace(data, before=made))
        made += () if found is None else (found,)
    return made


def _contents(
    title: str, data: str, about: list[str], result: list[str], sections: Sequence[Section], computed_on: str
) -> dict[str, bytes]:
    """The report's files by name."""
    markdown = [
        f"# {to_markdown(title)}",
        f"**{to_markdown(data)}**" if data else "",
        *(f"> {to_markdown_paragraph(sentence)}" for sentence in result),
        *map(to_markdown_paragraph, about),
    ]
    latex = [f"% {visible(title)}", f"% {visible(data)}", r"% \usepackage{booktabs}"]
    contents: dict[str, bytes] = {"report.html": b"", "table.md": b"", "table.tex": b""}
    for section in sections:
        markdown += section.to_markdown(computed_on)
        latex += [grid.to_latex(data) for grid in section.grids]
        if taken := sorted(contents.keys() & section.files.keys()):
            raise ValueError(f"a picture or table is called {taken[0]}, as is one of the report's own files; rename it")
        contents |= section.files
    contents["table.md"] = ("\n\n".join(part.rstrip() for part in markdown if part) + "\n").encode()
    contents["table.tex"] = "\n".join(latex).encode()
    return contents
