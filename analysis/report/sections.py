"""The sections of a report, from the rows of its study."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from analysis.figures.controls import draw_response, draw_swapped
from analysis.figures.forest import draw_forest
from analysis.figures.paired import draw_paired
from analysis.figures.ranks import draw_ranks, rank_stability
from analysis.figures.ranks import known as ranks_known
from analysis.figures.scores import Title, draw
from analysis.figures.size import draw_size
from analysis.figures.variance import draw_variance, variance_table
from analysis.probes.controls import metadata_controls, swapped_matrices
from analysis.probes.difficulty import difficulty
from analysis.probes.response import response_curves, responses
from analysis.report.caption import (
    CAPTION_POWER,
    CAPTION_ROBUSTNESS,
    caption_controls,
    caption_difficulty,
    caption_full,
    caption_interaction,
    caption_response,
    caption_scores,
    caption_swapped,
    caption_tests,
)
from analysis.report.declared import names_of, sees_metadata
from analysis.report.grid import MARKS
from analysis.report.section import Section, to_csv
from analysis.report.table import (
    controls_grid,
    frame_grid,
    interaction_grids,
    interval_grid,
    power_grids,
    robustness_grid,
    score_grids,
    verdict_grids,
)
from analysis.results.store_rows import Collected
from analysis.scores.image_scores import OVERALL
from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.calibration import unlike_seeds
from analysis.stats.comparisons import leading_class
from analysis.stats.interaction import LEAST_UNITS, Interaction
from analysis.stats.mrmc import difference
from analysis.stats.power import plan, power_table
from analysis.wording import Names

RANKS = "in bold", "underlined"
RANKS_IN_PLAIN_TEXT = f"marked {MARKS['best']}", f"marked {MARKS['second']}"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""What pictures and tables that are handed in may be called, but for the suffix."""


def score_section(
    collected: Collected, scores: pd.DataFrame, cells: pd.DataFrame, title: str, figure: Title, styled: bool
) -> Section:
    """Table 1: F1 of each arm by subgroup, and its figure; `styled` is whether the terminal shows bold."""
    study = collected.study
    ranks = RANKS if styled else RANKS_IN_PLAIN_TEXT
    if study.average == "subgroups":
        figure = replace(figure, text=f"{figure.text}; {OVERALL} is the mean of the others")
    content = draw(scores, study.arms, study.baseline, figure, collected.subgroup_column, study.average)
    return Section(
        tuple(score_grids(cells, study.arms, title)),
        (caption_scores(cells, scores, collected, *RANKS),),
        (caption_scores(cells, scores, collected, *ranks),),
        files={"table.csv": to_csv(cells), "f1.png": content},
        pictures={"f1.png": f"{figure.names.score} of each arm and seed"},
        heading="Scores",
    )


def verdict_sections(collected: Collected, tests: pd.DataFrame, title: str, figure: Title) -> list[Section]:
    """Each declared comparison: on subgroups, in full on the whole, and as a figure."""
    study, names = collected.study, figure.names
    heading = "Did metadata help?" if sees_metadata(collected) else "Do arms differ?"
    words = (*_warnings(tests, study.endpoint), *caption_tests(tests, study, names))
    if tests.empty:
        return [Section((), words, files={"tests.csv": to_csv(tests)}, heading=heading)]
    leading = tests[tests["class"] == leading_class(tests["class"].unique(), study.endpoint)]
    overall = leading[leading["subgroup"] == OVERALL]
    against = [
        interval_grid(part, f"In full: against {reference}, on all {names.tested}")
        for reference, part in overall.groupby("reference", sort=False)
    ]
    main = Section(
        tuple(verdict_grids(leading, title, collected.subgroup_column, names)),
        words,
        files={"tests.csv": to_csv(tests)},
        heading=heading,
    )
    others = verdict_grids(tests.drop(leading.index), title, collected.subgroup_column, names)
    full = Section(tuple(against), (caption_full(tests, study, names),) if against else (), (), prints_grids=False)
    rest = Section(tuple(others), printed=(), prints_grids=False)
    shown = tests[tests["reference"] == study.baseline].dropna(subset="difference")
    if shown.empty:
        return [main, full, rest]
    content = draw_forest(shown, figure, study.margin)
    caption = f"Differences from {study.baseline}"
    if shown["ci_low"].notna().any():
        caption += (
            f", with intervals for new {names.units} and new seeds: thick 95 %, thin at the level of the verdicts"
        )
    return [main, full, Section(printed=(), files={"forest.png": content}, pictures={"forest.png": caption}), rest]


def _warnings(tests: pd.DataFrame, endpoint: str | None) -> list[str]:
    """Names declared comparisons whose arms' seeds are unlike, so that the test may err more than it says."""
    leading = tests["class"] == leading_class(tests["class"].unique(), endpoint)
    overall = tests[leading & (tests["subgroup"] == OVERALL) & tests["p_adjusted"].notna()]
    unlike = [said for _, row in overall.iterrows() if (said := unlike_seeds(row))]
    return [f"WARNING: p-values may be less sure than they look: {'; '.join(unlike)}."] if unlike else []


def interaction_section(found: Sequence[Interaction], corner: str, left_out: int, names: Names) -> Section:
    """Whether gains differ among subgroups, some of which are left out; nothing where there is one subgroup."""
    if not found:
        return Section()
    tested, predicted = interaction_grids(found, corner)
    words = (caption_interaction(corner, len(found), left_out, LEAST_UNITS, names),)
    rows = pd.DataFrame(
        {"arm": each.arm, "reference": each.reference} | asdict(subgroup)
        for each in found
        for subgroup in each.differences
    )
    return Section(
        (tested, predicted), words, (), False, {"subgroups.csv": to_csv(rows)}, heading="Does it help some more?"
    )


def robustness_section(robust: pd.DataFrame, names: Names) -> Section:
    """What resampling says of each comparison, apart from the verdicts: each number answers another question."""
    if robust.empty:
        return Section()
    grid = robustness_grid(robust, "The comparisons by resampling")
    words = CAPTION_ROBUSTNESS.format(units=names.units, images=names.images)
    return Section(
        (grid,), (words,), (), False, {"resampling.csv": to_csv(robust)},
        heading="What else could be asked, by resampling",
    )  # fmt: skip


def power_section(matrix: ScoreMatrix, tests: pd.DataFrame, collected: Collected) -> Section:
    """What these numbers of seeds and images find, and what more would, for the class that is concluded on."""
    study = collected.study
    leading = leading_class(tests["class"].unique(), study.endpoint)
    overall = tests[(tests["class"] == leading) & (tests["subgroup"] == OVERALL)]
    sentences: list[str] = []
    undecided: list[str] = []
    tables = []
    names = names_of(collected)
    unit = names.units
    size = max(round(matrix.size), 2)
    for comparison in study.comparisons:
        if comparison.reference != study.baseline or comparison.claim != "differs":
            continue
        if not {comparison.arm, comparison.reference} <= set(matrix.arms):
            continue
        found = difference(matrix, comparison.arm, comparison.reference)
        if found.components is None:
            continue
        advice = plan(found.components, study.margin, min(found.seeds), size, unit)
        sentences.append(f"{comparison.arm} against {comparison.reference}: {advice}")
        own = overall[(overall["arm"] == comparison.arm) & (overall["reference"] == comparison.reference)]
        if (own["verdict"] == "no evidence").any():
            undecided.append(sentences[-1])
        units = sorted({size // 2, size, 2 * size, 4 * size} - {0, 1})
        tables.append(power_table(found.components, units=tuple(units)).assign(arm=comparison.arm))
    if not sentences:
        return Section()
    table = pd.concat(tables, ignore_index=True)
    words = CAPTION_POWER.format(margin=study.margin, score=names.score, whose=names.margin)
    return Section(
        power_grids(table, unit), (*sentences, words), tuple(undecided[:1]),
        False, {"power.csv": to_csv(table)}, heading=f"What would more seeds or {names.images} buy?",
    )  # fmt: skip


def figure_sections(
    collected: Collected, scores: pd.DataFrame, matrix: ScoreMatrix, tests: pd.DataFrame, figure: Title
) -> list[Section]:
    """Variance, images, sizes and ranks, for the class that is concluded on."""
    study = collected.study
    name = leading_class(scores["class"].unique(), study.endpoint)
    own = scores[scores["class"] == name]
    files: dict[str, bytes] = {}
    pairs = [each for each in study.comparisons if {each.arm, each.reference} <= set(matrix.arms)]
    differences = [difference(matrix, pair.arm, pair.reference) for pair in pairs if pair.reference == study.baseline]
    known = [each for each in differences if each.components is not None]
    if known:
        files["variance.png"] = draw_variance(variance_table(known), figure)
    images, image, best = figure.names.images, figure.names.image, ""
    told = [each.arm for each in pairs if each.claim == "differs" and each.reference == study.baseline]
    if told:
        own_tests = tests[(tests["class"] == name) & (tests["subgroup"] == OVERALL)]
        means = own_tests[own_tests["reference"] == study.baseline].set_index("arm")["difference"]
        best = max(told, key=lambda arm: float(means.get(arm, -np.inf)))
        files["paired.png"] = draw_paired(own, best, study.baseline, figure)
    if len(matrix.arms) > 1 and ranks_known(matrix):
        files["ranks.png"] = draw_ranks(rank_stability(matrix, np.random.default_rng(0)), figure)
    if (
        "tp" in collected.images
        and (collected.images["tp"] + collected.images["fn"]).any()
        and study.baseline in set(collected.images["arm"])
    ):
        files["size.png"] = draw_size(collected.images, study.arms, study.baseline, figure)
    captions = {
        "variance.png": f"Where variance comes from: {images}, seeds, arm x {image}, and what is left",
        "paired.png": f"Each {image}: {best} against {study.baseline}",
        "ranks.png": f"How sure the arms' ranks are for new seeds and {images}",
        "size.png": "F1 against the size of what is to be found",
    }
    return [
        Section(printed=(), files={file: content}, pictures={file: captions[file]}, heading=heading)
        for (file, content), heading in zip(files.items(), ["A closer look", "", "", ""], strict=False)
    ]


def control_sections(collected: Collected, figure: Title) -> list[Section]:
    """What networks do when they aren't told the truth; none where they weren't evaluated so."""
    images, study = collected.images, collected.study
    controls = metadata_controls(images, study.average)
    if controls.empty:
        return []
    grid = controls_grid(controls, "What if they aren't told the truth? F1 of networks that see metadata")
    words = caption_controls(controls, study, images["class"].nunique() > 1)
    heading = "What if networks aren't told the truth?"
    sections = [Section((grid,), (words,), files={"controls.csv": to_csv(controls)}, heading=heading)]
    matrices = swapped_matrices(images)
    if len(matrices):
        title = replace(figure, text=f"{figure.text}, told each value instead of the true one")
        files = {"swapped.csv": to_csv(matrices), "swapped.png": draw_swapped(matrices, title)}
        words = caption_swapped(matrices)
        sections.append(Section((), (words,), (), files=files, pictures={"swapped.png": "F1 by true and told value"}))
    told = responses(images)
    if len(told):
        title = replace(figure, text=f"{figure.text}, told other values with the image held fixed")
        content = draw_response(told, study.arms, study.baseline, title)
        files = {"response.csv": to_csv(response_curves(told)), "response.png": content}
        words = caption_response(told)
        sections.append(Section((), (words,), (), files=files, pictures={"response.png": "Predicted area and F1"}))
    return sections


def difficulty_section(collected: Collected) -> Section:
    """How much metadata alone explains; the same rows give the same p-values."""
    found = difficulty(collected.images, collected.study.baseline, np.random.default_rng(0))
    if found.empty:
        return Section()
    title = f"How much of {collected.study.baseline}'s F1 does metadata alone explain?"
    line, words = caption_difficulty(found, collected.study.baseline)
    return Section(
        (frame_grid(found, title),), (line, words), (line,), False, {"difficulty.csv": to_csv(found)},
        heading="Which images are hard?",
    )  # fmt: skip


def extra_sections(pictures: Mapping[str, bytes], tables: Mapping[str, pd.DataFrame]) -> list[Section]:
    """What the study itself adds.

    Raises:
        ValueError: a name can't be a file's.
    """
    sections = []
    for name, frame in tables.items():
        _check_name(name)
        index = not isinstance(frame.index, pd.RangeIndex)
        frame = frame.reset_index() if index else frame
        grid = frame_grid(frame, name.replace("_", " ").capitalize())
        sections.append(Section((grid,), printed=(), prints_grids=False, files={f"{name}.csv": to_csv(frame)}))
    for name, content in pictures.items():
        stem = name.removesuffix(".png")
        _check_name(stem)
        file, caption = f"{stem}.png", stem.replace("_", " ").capitalize()
        sections.append(Section(printed=(), files={file: content}, pictures={file: caption}))
    return sections


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"a picture or table is called {name!r}; expected letters, digits, _ and -")
