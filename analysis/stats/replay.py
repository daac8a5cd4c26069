"""Looks of a study, from its scores; and its comparisons as the looks have decided them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.results.declaration import Comparison
from analysis.results.looks import Look, Rule
from analysis.scores.score_matrix import score_matrices
from analysis.stats.comparisons import leading_class
from analysis.stats.sequential import Standing, standings, take_look
from metaseg.schema import OVERALL, Average, Seeds

UNSEEN = ["se", "df", "p", "p_adjusted", "ci_low", "ci_high", "ci_low_adjusted", "ci_high_adjusted"]
UNSEEN += ["p_equivalence", "p_equivalence_adjusted", "detectable"]
"""Columns of tests that are empty before a comparison's first look."""

LATER = ["seed_sd", "seed_sd_reference", "effect_size", "superiority", "detectable"]
"""Columns that are empty where an arm has seeds from after a comparison's last look, which they would be of, too."""


def replay(
    scores: pd.DataFrame,
    rule: Rule,
    comparisons: Sequence[Comparison],
    margin: float,
    average: Average = "images",
    endpoint: str | None = None,
    past: Sequence[Look] = (),
    most: int | None = None,
    design: Seeds = "nested",
) -> tuple[Look, ...]:
    """Take all looks that the scores allow, one after the other, as the study took them.

    Args:
        scores: of `analysis.scores.image_scores.image_scores`.
        rule: as declared.
        comparisons: declared.
        margin: of equivalence.
        average: what the whole is.
        endpoint: class that the study is about, by default that of `leading_class`.
        past: looks that have been taken already, which stay as they are.
        most: seeds of the last look to take; by default that of the rule.
        design: of the seeds.

    Returns:
        Past looks and further ones, until nothing is open or an open comparison lacks runs.
    """
    looks = list(past)
    if scores.empty:
        return tuple(looks)
    leading = leading_class(map(str, scores["class"].unique()), endpoint)
    own = scores[scores["class"] == leading]
    for seeds in rule.looks[len(looks) :]:
        standing = {(each.arm, each.reference): each.open for each in standings(looks, rule, comparisons)}
        open_ = [each for each in comparisons if standing[each.arm, each.reference]]
        if not open_ or (most is not None and seeds > most):
            break
        found = (
            matrix for _, subgroup, matrix in score_matrices(own[own["seed"] < seeds], average) if subgroup == OVERALL
        )
        matrix = next(found, None)
        if matrix is None or not all(
            len(matrix.seeds_of(arm)) == seeds if arm in matrix.arms else False
            for each in open_
            for arm in (each.arm, each.reference)
        ):
            break
        looks.append(take_look(matrix, rule, open_, margin, looks, seeds, design))
    return tuple(looks)


def as_decided(tests: pd.DataFrame, standing: Sequence[Standing], endpoint: str | None = None) -> pd.DataFrame:
    """The table of comparisons, with those that were declared as the looks have decided them.

    Estimate, se, df and n_seeds are those of a comparison's last look; p, p_equivalence and intervals allow for all
    looks, adjusted ones for all comparisons, too. Comparisons that weren't looked at yet are `no look`
    in all rows.

    Args:
        tests: of `analysis.stats.comparisons.compare`.
        standing: of `analysis.stats.sequential.standings`.
        endpoint: class that the study is about.
    """
    if tests.empty:
        return tests
    tests = tests.copy()
    leading = leading_class(tests["class"].unique(), endpoint)
    declared = (tests["subgroup"] == OVERALL) & (tests["class"] == leading)
    for each in standing:
        rows = declared & (tests["arm"] == each.arm) & (tests["reference"] == each.reference)
        if each.last is None:  # its first look is still to come: nothing is tested before it
            pair = (tests["arm"] == each.arm) & (tests["reference"] == each.reference)
            tests.loc[pair, UNSEEN] = np.nan  # in subgroups and other classes, too
            tests.loc[pair, "verdict"] = "no look"
            continue
        later = (tests[["n_seeds", "n_seeds_reference"]] != each.seeds).any(axis=1)
        values = {
            "n_seeds": each.seeds, "n_seeds_reference": each.seeds, "difference": each.last.estimate,
            "se": each.last.se, "df": each.last.df, "p": each.p, "p_adjusted": each.p_adjusted,
            "ci_low": each.interval[0], "ci_high": each.interval[1], "ci_low_adjusted": each.adjusted[0],
            "ci_high_adjusted": each.adjusted[1], "p_equivalence": each.p_equivalence,
            "p_equivalence_adjusted": each.p_equivalence_adjusted, "verdict": each.verdict,
        }  # fmt: skip
        tests.loc[rows & later, LATER] = np.nan
        for column, value in values.items():
            tests.loc[rows, column] = np.nan if value is None else value
    return tests
