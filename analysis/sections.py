"""The sections of a report, from the rows of its study."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from analysis.caption import (
    CAPTION_FULL,
    CAPTION_INTERACTION,
    CAPTION_POWER,
    CAPTION_ROBUSTNESS,
    caption_controls,
    caption_difficulty,
    caption_response,
    caption_scores,
    caption_swapped,
    caption_tests,
    from_elsewhere,
)
from analysis.collect import Collected
from analysis.comparisons import leading_class
from analysis.control_figures import draw_response, draw_swapped
from analysis.controls import controls_grid, metadata_controls, swapped_matrices
from analysis.difficulty import difficulty
from analysis.figure import Title, draw
from analysis.figures.forest import draw_forest
from analysis.figures.paired import draw_paired
from analysis.figures.ranks import draw_ranks, rank_stability
from analysis.figures.size import draw_size
from analysis.figures.variance import draw_variance, variance_table
from analysis.grid import MARKS
from analysis.interaction import LEAST_UNITS, Interaction
from analysis.layout import Layout
from analysis.mrmc import difference
from analysis.power import plan, power_table
from analysis.response import response_curves, responses
from analysis.scores import OVERALL
from analysis.section import Section, to_csv
from analysis.table import (
    frame_grid,
    interaction_grids,
    interval_grid,
    power_grids,
    robustness_grid,
    score_grids,
    verdict_grids,
)
from analysis.words import metric_name

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
        figure = Title(f"{figure.text}; {OVERALL} is the mean of the others", figure.about)
    content = draw(scores, study.arms, study.baseline, figure, collected.subgroup_column, study.average)
    return Section(
        tuple(score_grids(cells, study.arms, title)),
        (caption_scores(cells, scores, collected, *RANKS),),
        (caption_scores(cells, scores, collected, *ranks),),
        files={"table.csv": to_csv(cells), "f1.png": content},
        pictures={"f1.png": f"{metric_name(collected.metric)} of each arm and seed"},
        heading="Scores",
    )


def verdict_sections(collected: Collected, tests: pd.DataFrame, title: str, figure: Title) -> list[Section]:
    """Each declared comparison: on subgroups, in full on the whole, and as a figure."""
    study = collected.study
    words = tuple(caption_tests(tests, study, metric_name(collected.metric)))
    heading = "Do arms differ?" if from_elsewhere(collected) else "Did metadata help?"
    if tests.empty:
        return [Section((), words, files={"tests.csv": to_csv(tests)}, heading=heading)]
    leading = tests[tests["class"] == leading_class(tests["class"].unique(), study.endpoint)]
    overall = leading[leading["subgroup"] == OVERALL]
    against = [
        interval_grid(part, f"In full: against {reference}, on all test images")
        for reference, part in overall.groupby("reference", sort=False)
    ]
    main = Section(
        tuple(verdict_grids(leading, title, collected.subgroup_column)),
        words,
        files={"tests.csv": to_csv(tests)},
        heading=heading,
    )
    others = verdict_grids(tests.drop(leading.index), title, collected.subgroup_column)
    full = Section(tuple(against), (CAPTION_FULL.format(margin=f"{study.margin:g}"),), (), prints_grids=False)
    rest = Section(tuple(others), printed=(), prints_grids=False)
    shown = tests[tests["reference"] == study.baseline].dropna(subset="difference")
    if shown.empty:
        return [main, full, rest]
    content = draw_forest(shown, figure, study.margin)
    caption = f"Differences from {study.baseline}, with 95 % intervals for new images and new seeds"
    return [main, full, Section(printed=(), files={"forest.png": content}, pictures={"forest.png": caption}), rest]


def interaction_section(found: Sequence[Interaction], corner: str) -> Section:
    """Whether gains differ among subgroups; nothing where there is one subgroup."""
    if not found:
        return Section()
    tested, predicted = interaction_grids(found, corner)
    words = (CAPTION_INTERACTION.format(corner=corner, least=LEAST_UNITS),)
    rows = pd.DataFrame(
        {"arm": each.arm, "reference": each.reference} | asdict(subgroup)
        for each in found
        for subgroup in each.differences
    )
    return Section(
        (tested, predicted), words, (), False, {"subgroups.csv": to_csv(rows)}, heading="Does it help some more?"
    )


def robustness_section(robust: pd.DataFrame) -> Section:
    """The declared comparisons without the assumption of normal scores."""
    if robust.empty:
        return Section()
    grid = robustness_grid(robust, "The declared comparisons by resampling")
    return Section(
        (grid,), (CAPTION_ROBUSTNESS,), (), False, {"resampling.csv": to_csv(robust)},
        heading="Does it hold without assuming normal scores?",
    )  # fmt: skip


def power_section(layout: Layout, tests: pd.DataFrame, collected: Collected) -> Section:
    """What these numbers of seeds and images find, and what more would, for the class that is concluded on."""
    study = collected.study
    leading = leading_class(tests["class"].unique(), study.endpoint)
    overall = tests[(tests["class"] == leading) & (tests["subgroup"] == OVERALL)]
    sentences: list[str] = []
    undecided: list[str] = []
    tables = []
    unit = "images" if len(layout.units) == layout.images else "groups of images"
    size = max(round(layout.size), 2)
    for comparison in study.comparisons:
        if comparison.reference != study.baseline or comparison.claim != "differs":
            continue
        if not {comparison.arm, comparison.reference} <= set(layout.arms):
            continue
        found = difference(layout, comparison.arm, comparison.reference)
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
    words = CAPTION_POWER.format(margin=f"{study.margin:g}", score=metric_name(collected.metric))
    return Section(
        power_grids(table, unit), (*sentences, words), tuple(undecided[:1]),
        False, {"power.csv": to_csv(table)}, heading="What would more seeds or images buy?",
    )  # fmt: skip


def figure_sections(
    collected: Collected, scores: pd.DataFrame, layout: Layout, tests: pd.DataFrame, figure: Title
) -> list[Section]:
    """Variance, images, sizes and ranks, for the class that is concluded on."""
    study = collected.study
    name = leading_class(scores["class"].unique(), study.endpoint)
    own = scores[scores["class"] == name]
    files: dict[str, bytes] = {}
    pairs = [each for each in study.comparisons if {each.arm, each.reference} <= set(layout.arms)]
    differences = [difference(layout, pair.arm, pair.reference) for pair in pairs if pair.reference == study.baseline]
    known = [each for each in differences if each.components is not None]
    if known:
        files["variance.png"] = draw_variance(variance_table(known), figure)
    told = [each.arm for each in pairs if each.claim == "differs" and each.reference == study.baseline]
    if told:
        own_tests = tests[(tests["class"] == name) & (tests["subgroup"] == OVERALL)]
        means = own_tests[own_tests["reference"] == study.baseline].set_index("arm")["difference"]
        best = max(told, key=lambda arm: float(means.get(arm, -np.inf)))
        files["paired.png"] = draw_paired(own, best, study.baseline, figure)
    if len(layout.arms) > 1:
        files["ranks.png"] = draw_ranks(rank_stability(layout, np.random.default_rng(0)), figure)
    if (
        "tp" in collected.images
        and (collected.images["tp"] + collected.images["fn"]).any()
        and study.baseline in set(collected.images["arm"])
    ):
        files["size.png"] = draw_size(collected.images, study.arms, study.baseline, figure)
    captions = {
        "variance.png": "Where variance comes from: images, seeds, arm x image, and what is left",
        "paired.png": "Each test image: the arm that gains most against the baseline",
        "ranks.png": "How stable the arms' ranks are, had other seeds and images been drawn",
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
        title = Title(f"{figure.text}, told each value instead of the true one", figure.about)
        files = {"swapped.csv": to_csv(matrices), "swapped.png": draw_swapped(matrices, title)}
        words = caption_swapped(matrices)
        sections.append(Section((), (words,), (), files=files, pictures={"swapped.png": "F1 by true and told value"}))
    told = responses(images)
    if len(told):
        title = Title(f"{figure.text}, told other values with the image held fixed", figure.about)
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
