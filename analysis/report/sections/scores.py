"""Mean scores of each arm by subgroup, as in the paper's Table 1."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from analysis.figures.scores import build_scores, to_drawing
from analysis.report.data import ReportData
from analysis.report.declared import from_elsewhere, names_of
from analysis.report.grid import MARKS, Cell, Emphasis, Grid
from analysis.report.section import Part, Section, picture, to_csv
from analysis.results.declaration import Study
from analysis.results.store_rows import Collected
from analysis.wording import FORMULAS, Names
from metaseg.schema import MACRO, OVERALL

RANKS: dict[float, Emphasis] = {1: "best", 2: "second"}
RANKS_IN_STYLE = "in bold", "underlined"
RANKS_IN_PLAIN_TEXT = f"marked {MARKS['best']}", f"marked {MARKS['second']}"


def section(data: ReportData) -> Section:
    """Table 1: the mean score of each arm by subgroup, and its figure."""
    study, figure, collected = data.study, data.figure, data.collected
    if study.average == "subgroups":
        figure = replace(figure, text=f"{figure.text}; {OVERALL} is the mean of the others")
    drawn = build_scores(data.scores, study.arms, study.baseline, data.names, data.column, study.average)
    ranks = RANKS_IN_STYLE if data.styled else RANKS_IN_PLAIN_TEXT
    table = Part(
        tuple(score_grids(data.cells, study.arms, f"{data.names.score} of each arm{data.scope}")),
        (score_caption(data.cells, data.scores, collected, *RANKS_IN_STYLE),),
        (score_caption(data.cells, data.scores, collected, *ranks),),
        files={"table.csv": to_csv(data.cells)},
    )
    shown = picture("f1", to_drawing(drawn, figure), f"{data.names.score} of each arm and seed")
    return Section("Scores", (table, shown))


def score_grids(cells: pd.DataFrame, arms: Sequence[str], title: str) -> list[Grid]:
    """Table 1 for every class: a row per arm, a column per subgroup, mean F1 ± SD across seeds.

    Args:
        cells: of `analysis.scores.image_scores.summarise`.
        arms: the rows; one has dashes where none of its runs covers the subgroup.
        title: of the table; the class is appended where there are several.
    """
    grids = []
    for name, part in cells.groupby("class", observed=True):
        printed = part["mean"].map("{:.3f}".format)
        spread = part["sd"].map("± {:.3f}".format).where(part["sd"].notna(), "")
        rank = printed.astype(float).groupby(part["subgroup"], observed=True).rank("dense", ascending=False)
        shown = {
            (arm, subgroup): Cell(mean, sd, RANKS.get(place, "plain"))
            for arm, subgroup, mean, sd, place in zip(part["arm"], part["subgroup"], printed, spread, rank, strict=True)
        }
        columns = tuple(part["subgroup"].cat.remove_unused_categories().cat.categories)
        rows = tuple((arm, tuple(shown.get((arm, column), Cell("-")) for column in columns)) for arm in arms)
        several = cells["class"].nunique() > 1
        grids.append(Grid(f"{title}, class {name}" if several else title, "arm", columns, rows))
    return grids


def score_caption(cells: pd.DataFrame, scores: pd.DataFrame, collected: Collected, best: str, second: str) -> str:
    """Explains the table of scores, and the conventions for empty masks and missing images.

    `best` and `second` say how ranks look, e.g. "in bold".
    """
    study, names = collected.study, names_of(collected)
    overall = (
        f"all {names.tested}"
        if study.average == "images"
        else f"the unweighted mean of the means of each {names.subgroup}"
    )
    few, many = cells["n_seeds"].min(), cells["n_seeds"].max()
    seeds = f"{few}" if few == many else f"{few} to {many}"
    spread = "± the SD of these means across seeds" if many > 1 else "one seed, so the spread is unknown"
    an_arm, folds = "an arm", len(study.folds)
    if folds:
        seeds = f"up to {many}" if _uneven(cells) else seeds
        an_arm = f"an arm in each of {folds} folds"
        spread = "± the SD of a run's mean across the seeds of its fold" if cells["sd"].notna().any() else spread
    columns = (
        f"{OVERALL}: {overall}; values of {names.subgroup} in alphabetical order. "
        if cells["subgroup"].nunique() > 1
        else ""
    )
    shown = cells.groupby("class", observed=True)
    if any(len(part) < part["arm"].nunique() * part["subgroup"].nunique() for _, part in shown):
        columns += f"A dash: no run of the arm covers all {names.images} of the column. "
    counted = "tp" in collected.images
    return (
        f"Score: {score_formula(collected, names)} of each {names.image}. Each cell is the mean over {names.images}, "
        f"averaged over seeds ({seeds} {an_arm}; {spread}). {columns}The best of each column is {best}, the second "
        f"{second}; values that print alike share a rank. "
        f"{_partial(cells, names)}{_empty(scores, study, names) if counted else _given(collected)}"
    )


def score_formula(collected: Collected, names: Names) -> str:
    """Name of the score, with its formula where it comes from counts of pixels."""
    if "tp" not in collected.images:
        return names.score
    formula = FORMULAS[collected.metric]
    return formula if "metric" not in collected.names else f"{names.score}, which is {formula},"


def _given(collected: Collected) -> str:
    return (
        "Scores are shown as they were given."
        if from_elsewhere(collected)
        else "Scores were computed by metaseg score."
    )


def _uneven(cells: pd.DataFrame) -> bool:
    """True if a seed lacks a run of some fold."""
    return bool((cells["n_runs"] < cells["n_seeds"] * cells["n_folds"]).any())


def _partial(cells: pd.DataFrame, names: Names) -> str:
    """Says which scores are missing and how they were estimated; empty where none is."""
    most = int(cells.groupby(["class", "subgroup"], observed=True)["n_partial"].sum().max())
    said = ""
    if most:
        said = (
            f"{most} {'run lacks' if most == 1 else 'runs lack'} some {names.images} of a column (half at most). Each "
            f"missing score was estimated from the other runs on that {names.image}, so that all means are over the "
            f"same {names.images}. "
        )
    if _uneven(cells):
        said += (
            "A seed without a run of some fold is left out in that fold: there, means are of the arm's other seeds. "
        )
    overall = cells[(cells["subgroup"] == OVERALL) & (cells["n_lacking"] > 0)]
    lacking = overall.groupby("arm", observed=True)[["n_lacking", "n_images"]].max()
    if len(lacking):
        arms = " and ".join(
            f"{arm} lacks {row.n_lacking} of {row.n_images} {names.images}" for arm, row in lacking.iterrows()
        )
        said += (
            f"{arms} in all its runs: it is compared on the others, and its mean assumes the same difference from the "
            "other arms on those that it lacks. "
        )
    return said


def _empty(scores: pd.DataFrame, study: Study, names: Names) -> str:
    own = scores[scores["class"] != MACRO]
    if study.empty == "left out":
        return f"{names.images.capitalize()} whose reference mask lacks a class are excluded from its scores."
    article = "An" if names.image[:1].lower() in "aeiou" else "A"
    return (
        f"{article} {names.image} whose reference and prediction are both empty scores 1: {own['empty'].sum()} of "
        f"{len(own)} scores here."
    )
