"""The sections of a report on an arm's runs: their spread, failures, subgroups run by run, and what a model leaves."""

from collections.abc import Collection, Mapping

import pandas as pd

from analysis.figures.residuals import draw_residuals
from analysis.figures.run_means import draw_run_means
from analysis.figures.scores import Title
from analysis.report.declared import from_elsewhere
from analysis.report.grid import Cell, Grid
from analysis.report.section import Section, to_csv
from analysis.results.store_rows import Collected
from analysis.scores.image_scores import OVERALL
from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.seeds import residuals, run_means, seed_table
from analysis.wording import Names, listed


def seed_sections(
    collected: Collected,
    scores: pd.DataFrame,
    matrices: Mapping[str, ScoreMatrix],
    failed: Collection[str],
    figure: Title,
) -> list[Section]:
    """Whether an arm's runs agree.

    Args:
        collected: the results.
        scores: of `analysis.scores.image_scores.image_scores`, of the class that is concluded on.
        matrices: of this class, by subgroup, among them `OVERALL`.
        failed: ids of runs that failed when they were last tried.
        figure: above the figures.
    """
    names, study = figure.names, collected.study
    table = seed_table(matrices[OVERALL], scores, study.baseline, collected.missing, failed)
    means = run_means(dict(matrices))
    files = {"seeds.csv": to_csv(table)}
    first = Section(
        (_grid(table, study.baseline, names),),
        _words(table, collected, names),
        (),
        False,
        files,
        heading="Do seeds agree?",
    )
    pictures = [
        ("run_means.png", f"Each run on each {_column(collected)}", draw_run_means(means, figure)),
    ]
    if len(means) > 1:
        pictures.append(
            (
                "residuals.png",
                f"What runs and {names.units} don't explain, against what they do",
                draw_residuals(residuals(matrices[OVERALL]), figure),
            )
        )
    return [
        first,
        *(Section((), (), (), files={name: png}, pictures={name: caption}) for name, caption, png in pictures),
    ]


def _column(collected: Collected) -> str:
    return "value of " + collected.subgroup_column if collected.images["subgroup"].nunique() > 1 else "class"


def _grid(table: pd.DataFrame, baseline: str, names: Names) -> Grid:
    rows = []
    for _, row in table.iterrows():
        ratio = f"{row['sd_ratio']:.1f}" if pd.notna(row["sd_ratio"]) and row["arm"] != baseline else "-"
        cells = [Cell(f"{row['n_seeds']}"), Cell(f"{row['mean']:.4f}")]
        cells += [
            Cell(f"{row['sd']:.4f}" if pd.notna(row["sd"]) else "-"),
            Cell(ratio),
            Cell(f"{row['worst_run']:.4f}"),
        ]
        cells += [Cell(f"{row['low_images']:.4f}"), Cell(f"{row['n_collapsed']}")]
        cells += (
            [Cell(f"{row['n_failed']}"), Cell(f"{row['n_missing']}")]
            if table[["n_failed", "n_missing"]].any(axis=None)
            else []
        )
        rows.append((str(row["arm"]), (*cells, Cell(f"{100 * row['failure_limit']:.0f} %"))))
    columns = ["seeds", f"mean {names.score}", "SD", f"SD / {baseline}'s", "worst seed", f"10 % of {names.images}"]
    columns += ["collapsed", *(["failed", "unfinished"] if len(rows[0][1]) > 8 else []), "failures up to"]
    return Grid("Seeds of each arm", "arm", tuple(columns), tuple(rows))


def _words(table: pd.DataFrame, collected: Collected, names: Names) -> tuple[str, ...]:
    counted = "collapsed or failed" if table["n_failed"].any() else "collapsed"
    words = [
        f"Descriptive, without tests. SD: among means of an arm's seeds. worst seed: the lowest of these means. 10 % "
        f"of "
        f"{names.images}: a tenth of them score lower (mean over seeds). collapsed: seeds with less than half the mean "
        f"{names.score} of the arm's best. failures up to: with 95 % confidence, no more than so many seeds of the arm "
        f"{'collapse or fail' if table['n_failed'].any() else 'collapse'} (Clopper and Pearson)."
    ]
    clean = table[(table["n_collapsed"] == 0) & (table["n_failed"] == 0)]
    if len(clean):
        seeds = int(clean["n_seeds"].max())
        limit = float(clean["failure_limit"].min())
        words.append(f"0 of {seeds} that {counted} leaves room for up to {100 * limit:.0f} % that do.")
    others = table[(table["n_collapsed"] > 0) | (table["n_failed"] > 0)]
    if len(others):
        said = [
            f"{row['n_collapsed'] + row['n_failed']} of {row['n_seeds'] + row['n_failed']} of {row['arm']}"
            for _, row in others.iterrows()
        ]
        words.append(f"Seeds that {counted}: {listed(said)}. Means and tests are with those that finished.")
    if from_elsewhere(collected):
        words.append("Whether other seeds were trained and left out, the table doesn't say.")
    return tuple(words)
