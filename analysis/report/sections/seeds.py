"""Do seeds agree? The spread of each arm's runs, failures, and residuals."""

import pandas as pd

from analysis.figures.residuals import build_residuals
from analysis.figures.run_means import build_run_means
from analysis.figures.style import rendered
from analysis.report.data import ReportData
from analysis.report.declared import from_elsewhere
from analysis.report.grid import Cell, Grid
from analysis.report.section import Part, Section, picture, to_csv
from analysis.stats.seeds import residuals, run_means, seed_table
from analysis.wording import Names, listed


def section(data: ReportData) -> Section | None:
    """Descriptive, of the class that is concluded on; None where no run covers all images."""
    matrix, names, baseline = data.overall, data.names, data.study.baseline
    if matrix is None:
        return None
    failed = data.supplement.failed
    table = seed_table(matrix, data.own, baseline, data.collected.missing, failed)
    means = run_means(dict(data.matrices))
    words = _words(table, from_elsewhere(data.collected), names)
    if data.folds:
        words = (
            f"A seed has a run in each of {data.folds} folds: its mean is over all; SD and collapsed are of runs of a "
            "fold.",
            *words,
        )
    several = data.collected.images["subgroup"].nunique() > 1
    across = f"Mean {names.score} of each run on each {f'value of {data.column}' if several else 'class'}"
    parts = [
        Part((_grid(table, baseline, names),), words, (), False, {"seeds.csv": to_csv(table)}),
        picture("run_means", rendered(build_run_means(means, data.names, data.folds), data.figure), across),
    ]
    if len(means) > 1:
        caption = "Residuals against fitted values"
        parts.append(
            picture("residuals", rendered(build_residuals(residuals(matrix), data.names), data.figure), caption)
        )
    return Section("Do seeds agree?", tuple(parts))


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
    columns = [
        "seeds",
        f"mean {names.score}",
        "SD",
        f"SD relative to {baseline}",
        "worst seed",
        f"10th percentile of {names.images}",
    ]
    columns += ["collapsed", *(["failed", "unfinished"] if len(rows[0][1]) > 8 else []), "failures up to"]
    return Grid("Seeds of each arm", "arm", tuple(columns), tuple(rows))


def _words(table: pd.DataFrame, elsewhere: bool, names: Names) -> tuple[str, ...]:
    failed = bool(table["n_failed"].any())
    words = [
        "Descriptive only; nothing is tested. SD: standard deviation among the means of an arm's seeds. worst seed: "
        f"the lowest of these means. 10 % of {names.images}: the tenth percentile of {names.images} (means over "
        f"seeds). collapsed: seeds with less than half the mean {names.score} of the arm's best. failures up to: upper "
        f"95 % confidence limit of the share of seeds that {'collapse or fail' if failed else 'collapse'} "
        "(Clopper-Pearson)."
    ]
    counted = "collapsed or failed" if failed else "collapsed"
    clean = table[(table["n_collapsed"] == 0) & (table["n_failed"] == 0)]
    if len(clean):
        runs = int(clean["n_runs"].max())
        seeds = f"{runs} {'seeds' if (clean['n_runs'] == clean['n_seeds']).all() else 'runs'}"
        limit = float(clean["failure_limit"].min())
        words.append(f"Where 0 of {seeds} {counted}, up to {100 * limit:.0f} % may do so (95 % confidence).")
    others = table[(table["n_collapsed"] > 0) | (table["n_failed"] > 0)]
    if len(others):
        said = [
            f"{row['n_collapsed'] + row['n_failed']} of {row['n_runs'] + row['n_failed']} of {row['arm']}"
            for _, row in others.iterrows()
        ]
        what = "Seeds" if (table["n_runs"] == table["n_seeds"]).all() else "Runs"
        words.append(f"{what} that {counted}: {listed(said)}. Means and tests are of those that finished.")
    if elsewhere:
        words.append("The table doesn't say whether other seeds were trained and left out.")
    return tuple(words)
