"""A study's report: score, test, write tables, figures and a page, and print the main tables."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote

import numpy as np
import pandas as pd
from rich.text import Text

from analysis.figures.glyphs import letters, not_drawn
from analysis.figures.learning import draw_learning, read_history
from analysis.figures.scores import Title
from analysis.report.conclusion import conclude
from analysis.report.declared import from_elsewhere, names_of, sees_metadata
from analysis.report.html import to_html
from analysis.report.methods import caveats_section, methods_section, provenance, provenance_section
from analysis.report.opening import describe
from analysis.report.plain_text import to_markdown, to_markdown_paragraph
from analysis.report.section import Section
from analysis.report.sections import (
    control_sections,
    difficulty_section,
    extra_sections,
    figure_sections,
    interaction_section,
    power_section,
    robustness_section,
    score_section,
    verdict_sections,
)
from analysis.report.seed_sections import seed_sections
from analysis.report.tuning import tuning_section
from analysis.results.declaration import ResultsError, Run
from analysis.results.merge import collect
from analysis.results.store_rows import Collected
from analysis.scores.extra_scores import METRICS as EXTRA_METRICS
from analysis.scores.extra_scores import with_scores
from analysis.scores.image_scores import OVERALL, image_scores, summarise
from analysis.scores.score_matrix import ScoreMatrix, score_matrices
from analysis.stats.comparisons import compare, leading_class
from analysis.stats.interaction import LEAST_UNITS, Interaction, interaction
from analysis.stats.multiple_testing import holm
from analysis.stats.robustness import resample
from analysis.sweeps.trials import Sweep, read_arm_sweeps
from metaseg.store.storage import Storage
from metaseg.terminal import Terminal, visible

PLAIN_WIDTH = 110
"""Columns of the output where it isn't a terminal."""


@dataclass(frozen=True)
class Report:
    """What is known of a study now."""

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
    """What was written: absolute paths or URLs."""


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
        pictures: PNGs that the study drew, by file name ("overlays.png"), to be shown at the end.
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
    history = read_history(storage, collected.study)
    runs = provenance(storage, collected)
    collected, about = scored_by(collected, storage, metric)
    target, folder = (out, "") if out else (storage, report_folder(study, metric))
    tuned = read_arm_sweeps(storage, study)
    failed = [name.removesuffix(".json") for name in storage.names("failures")]
    return write_report(collected, target, folder, history, runs, pictures, tables, about, tuned, failed)


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
    target: Storage,
    folder: str = "",
    history: pd.DataFrame | None = None,
    runs: pd.DataFrame | None = None,
    pictures: Mapping[str, bytes] = {},
    tables: Mapping[str, pd.DataFrame] = {},
    about_metric: str = "",
    tuned: Mapping[str, tuple[Sweep, pd.DataFrame]] = {},
    failed: Collection[str] = (),
) -> Report:
    """Report on results, wherever they are from.

    Args:
        collected: the results.
        target: what to write to.
        folder: in it, with a slash at the end.
        history: of `analysis.figures.learning.read_history`, where it is known.
        runs: of `analysis.report.methods.provenance`, where it is known.
        pictures: as in `report`.
        tables: as in `report`.
        about_metric: sentences on what scores are, where they need some.
        tuned: of `analysis.sweeps.trials.read_arm_sweeps`, where arms were tuned.
        failed: ids of runs that failed when they were last tried.
    """
    declared, column = collected.study, collected.subgroup_column
    scores = image_scores(collected.images, declared.arms, collected.metric, declared.empty)
    cells = summarise(scores, declared.average)
    tests = compare(scores, declared.comparisons, declared.margin, declared.average, declared.endpoint)
    leading = leading_class(scores["class"].unique(), declared.endpoint)
    by_subgroup = {
        subgroup: matrix for name, subgroup, matrix in score_matrices(scores, declared.average) if name == leading
    }
    interactions = _interactions(collected, by_subgroup)

    console = Terminal()
    if not console.is_terminal:
        console = Terminal(width=PLAIN_WIDTH)
    by = f" by {column}" if scores["subgroup"].nunique() > 1 else ""
    incomplete = " (INCOMPLETE)" if collected.missing else ""
    words = names_of(collected)
    metric = words.score
    names = [column, *(str(name) for kind in ("arm", "class", "subgroup") for name in scores[kind].unique())]
    on = f" on {words.tested}" + ("" if from_elsewhere(collected) else f" of {declared.dataset}")
    figure = Title(f"{declared.name}: {metric}{on}{incomplete}", declared.about, words)
    left_out = sum(matrix.size < LEAST_UNITS for name, matrix in by_subgroup.items() if name != OVERALL)
    robust = pd.DataFrame()
    sections = [
        score_section(collected, scores, cells, f"{metric} of each arm{by}{incomplete}", figure, console.is_terminal),
        *verdict_sections(collected, tests, f"Differences{by}{incomplete} from", figure),
        interaction_section(interactions, column, left_out, words),
    ]
    if OVERALL in by_subgroup:
        overall = by_subgroup[OVERALL]
        robust = resample(overall, declared.comparisons, np.random.default_rng(0))
        sections += [power_section(overall, tests, collected)]
        sections += figure_sections(collected, scores, overall, tests, figure)
        sections += seed_sections(collected, scores[scores["class"] == leading], by_subgroup, failed, figure)
    if history is not None and len(history):
        content = draw_learning(history, figure, declared.baseline)
        caption = {"learning.png": "Validation F1 and training loss by epoch, mean over seeds"}
        sections.append(Section(printed=(), files={"learning.png": content}, pictures=caption))
    sections.append(tuning_section(tuned, declared.arms, Title(declared.name, declared.about)))
    if "tp" in collected.images:
        sections += [*control_sections(collected, figure), difficulty_section(collected)]
    sections += [robustness_section(robust, words), *extra_sections(pictures, tables)]
    closing = [methods_section(collected, tests, interactions, robust)]
    closing.append(caveats_section(collected, tests, tuned=bool(tuned)))
    closing.append(provenance_section(runs if runs is not None else pd.DataFrame(), collected))

    question = "with and without metadata" if sees_metadata(collected) else "of each arm"
    title = f"Study {declared.name}: {metric} {question}"
    data = f"Data: {declared.about}" if declared.about else ""
    about, result = describe(collected), conclude(tests, interactions, declared, column, words)
    about += [about_metric] if about_metric else []
    contents = _contents(title, data, about, result, [*sections, *closing], declared.about)
    for name, content in contents.items():
        target.write(folder + name, content)

    for part in (Text(title, "bold"), *([Text(data, "bold")] if data else []), *map(Text, about), ""):
        console.print(part)
    if unseen := letters([figure.text, figure.about, *names]):
        console.print(Text(not_drawn(unseen)), soft_wrap=True)
    for section in sections:
        for shown in section.to_rich(console.width, console.is_terminal):
            console.print(shown)
    for sentence in result:
        console.print(Text(sentence, "bold"))
    files = tuple(target.locate(folder + name) for name in contents)
    page, rest = f"{target.locate(folder + 'report.html')}", len(files) - 1
    console.print(
        Text(
            f"\nThe report, to read and to pass on:\n  {page}\n"
            f"Beside it {rest} tables and figures; rows: {collected.path}"
        ),
        soft_wrap=True,
    )
    return Report(declared.name, tuple(result), cells, tests, collected.missing, files)


def _interactions(collected: Collected, by_subgroup: Mapping[str, ScoreMatrix]) -> list[Interaction]:
    """Of the comparisons with the baseline that metadata are told in, where subgroups can be compared.

    Comparisons of which no run of an arm has all subgroups are left out. p is corrected by Holm's method over them.
    """
    parts = {name: matrix for name, matrix in by_subgroup.items() if name != OVERALL and matrix.size >= LEAST_UNITS}
    units = [unit for matrix in parts.values() for unit in matrix.units]
    if len(set(units)) < len(units):  # an image with several tasks is in several subgroups
        return []
    found = []
    for comparison in collected.study.comparisons:
        pair = {comparison.arm, comparison.reference}
        fit = {name: matrix for name, matrix in parts.items() if pair <= set(matrix.arms)}
        shared = [set.intersection(*(set(each.seeds_of(arm)) for each in fit.values())) for arm in pair if len(fit) > 1]
        declared = comparison.claim == "differs" and comparison.reference == collected.study.baseline
        if declared and shared and all(shared):
            found.append(interaction(fit, comparison.arm, comparison.reference))
    if not found:
        return []
    return [
        replace(each, p=float(p)) for each, p in zip(found, holm(np.array([each.p for each in found])), strict=True)
    ]


def _contents(
    title: str, data: str, about: list[str], result: list[str], sections: list[Section], computed_on: str
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
    contents["report.html"] = to_html(title, data, result, about, sections).encode()
    contents["table.md"] = ("\n\n".join(part.rstrip() for part in markdown if part) + "\n").encode()
    contents["table.tex"] = "\n".join(latex).encode()
    return contents
