"""The sections of a report, from the rows of its study."""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.caption import (
    caption_controls,
    caption_difficulty,
    caption_response,
    caption_scores,
    caption_swapped,
    caption_tests,
)
from analysis.collect import Collected
from analysis.control_figures import draw_response, draw_swapped
from analysis.controls import controls_grid, metadata_controls, swapped_matrices
from analysis.difficulty import difficulty
from analysis.figure import Title, draw
from analysis.grid import MARKS
from analysis.response import response_curves, responses
from analysis.scores import OVERALL
from analysis.section import Section, to_csv
from analysis.table import frame_grid, score_grids, verdict_grids

RANKS_IN_MARKDOWN = "in **bold**", "<u>underlined</u>"
RANKS_IN_TERMINAL = "in bold", "underlined"
RANKS_IN_PLAIN_TEXT = f"marked {MARKS['best']}", f"marked {MARKS['second']}"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""What pictures and tables that are handed in may be called, but for the suffix."""


def score_section(
    collected: Collected, scores: pd.DataFrame, cells: pd.DataFrame, title: str, figure: Title, styled: bool
) -> Section:
    """Table 1: F1 of each arm by subgroup, and its figure; `styled` is whether the terminal shows bold."""
    study = collected.study
    ranks = RANKS_IN_TERMINAL if styled else RANKS_IN_PLAIN_TEXT
    if study.average == "subgroups":
        figure = Title(f"{figure.text}; {OVERALL} is the mean of the others", figure.about)
    content = draw(scores, study.arms, study.baseline, figure, collected.subgroup_column, study.average)
    return Section(
        tuple(score_grids(cells, study.arms, title)),
        (caption_scores(cells, scores, study, *RANKS_IN_MARKDOWN),),
        (caption_scores(cells, scores, study, *ranks),),
        files={"table.csv": to_csv(cells), "f1.png": content},
        pictures={"f1.png": "F1 of each arm and seed"},
    )


def verdict_section(collected: Collected, tests: pd.DataFrame, title: str) -> Section:
    """Each arm against the baseline."""
    grids = verdict_grids(tests, title, collected.subgroup_column)
    words = caption_tests(tests, collected.study)
    return Section(tuple(grids), tuple(words), files={"tests.csv": to_csv(tests)})


def control_sections(collected: Collected, figure: Title) -> list[Section]:
    """What networks do when they aren't told the truth; none where they weren't evaluated so."""
    images, study = collected.images, collected.study
    controls = metadata_controls(images, study.average)
    if controls.empty:
        return []
    grid = controls_grid(controls, "What if they aren't told the truth? F1 of networks that see metadata")
    words = caption_controls(controls, study, images["class"].nunique() > 1)
    sections = [Section((grid,), (words,), files={"controls.csv": to_csv(controls)})]
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
    return Section((frame_grid(found, title),), (line, words), (line,), False, files={"difficulty.csv": to_csv(found)})


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
