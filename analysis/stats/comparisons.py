"""Tests of a study's declared comparisons, overall and on each subgroup, in one tidy table."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from analysis.results.declaration import Comparison
from analysis.scores.score_matrix import ScoreMatrix, score_matrices
from analysis.stats.effect_size import standardised, superiority
from analysis.stats.equivalence import equivalence
from analysis.stats.mrmc import difference, widening
from analysis.stats.multiple_testing import benjamini_hochberg, benjamini_hochberg_levels, holm, holm_levels
from analysis.stats.power import detectable
from analysis.stats.seeds import seed_sd
from metaseg.schema import ALPHA, MACRO, OVERALL, Average, Seeds

FEWEST_UNITS = 5
"""Smallest effective number of units at which the test is calibrated (docs/results/calibration); below, the verdict is
`too few`."""

UNTESTED = ("one seed", "too few", "incomplete", "no look")
"""Verdicts where nothing is tested."""

COLUMNS = ["class", "subgroup", "arm", "reference", "claim", "n_images", "n_common", "n_units", "n_effective"]
COLUMNS += ["n_folds", "n_seeds", "n_seeds_reference", "seed_sd", "seed_sd_reference"]
COLUMNS += ["difference", "se", "df", "p", "p_adjusted", "ci_low", "ci_high", "ci_low_adjusted", "ci_high_adjusted"]
COLUMNS += ["p_equivalence", "p_equivalence_adjusted", "effect_size", "superiority", "detectable", "verdict"]


def compare(
    scores: pd.DataFrame,
    comparisons: Sequence[Comparison],
    margin: float,
    average: Average = "images",
    endpoint: str | None = None,
    seeds: Seeds = "nested",
) -> pd.DataFrame:
    """Test each comparison on each subgroup and overall, for new images and new seeds (`analysis.stats.mrmc`).

    Scores that runs lack are filled in (`analysis.scores.missing`). p-values of differences and of
    equivalence are corrected in two families each: Holm's method for the comparisons of the endpoint on `OVERALL`,
    which were declared beforehand, Benjamini and Hochberg's for those on subgroups and of other classes, which are
    exploration. p-values of fewer than `FEWEST_UNITS` units, which aren't to be trusted, are in no family.

    Args:
        scores: of `analysis.scores.image_scores.image_scores`.
        comparisons: of `analysis.results.declaration.Study`; those of an arm without rows in a cell are left out of it.
        margin: equivalence margin; arms whose expected scores differ by less count as equal.
        average: what `OVERALL` is.
        endpoint: the class that the study is about, by default that of `leading_class`.
        seeds: `crossed` where runs of equal seed are pairs by design: the test is of those that both arms have.

    Returns:
        A row per class, subgroup and comparison, in this order, with n_images, n_common (those that some run of each of
        the two arms has), n_units (groups of images), n_effective (units of equal weight that tell as much:
        (sum n)² / sum n², n images a unit; of the stratum with fewest; fewer where images aren't common),
        n_folds (1 where there is one split), n_seeds and n_seeds_reference, seed_sd and seed_sd_reference (SD of runs'
        means within the arm and fold, pooled over folds); difference
        (arm - reference), se, df, p (two-sided), ci_low and ci_high (95 %, not corrected), p_adjusted, ci_low_adjusted
        and ci_high_adjusted (at the level of the corrected test: without 0 exactly where p_adjusted is below `ALPHA`);
        p_equivalence (TOST) and p_equivalence_adjusted; all that is adjusted is NaN with too few units;
        effect_size (`analysis.stats.effect_size.standardised`), superiority (chance that a new run of the arm beats one
        of the reference on a new image); detectable (the difference that so many seeds and units find four
        times in five) and verdict:

        - `one seed`: an arm has one, and so few folds that any difference may be the seed's; `too few`: units, for a
          test; `incomplete`: the two arms have no run of a common fold;
        - `helps`, `hurts`: p_adjusted below `ALPHA`;
        - `equal`: p_equivalence_adjusted below `ALPHA`; comes first where the comparison claims so;
        - `no evidence`: none of these.

    Example:
        >>> from analysis import Comparison, compare, example_scores
        >>> tests = compare(example_scores(), [Comparison("sme", "baseline")], margin=0.01)
        >>> tests[["subgroup", "difference", "ci_low", "ci_high", "p_adjusted", "verdict"]].round(3)
          subgroup  difference  ci_low  ci_high  p_adjusted verdict
        0  Average       0.022   0.010    0.033       0.007   helps
        1        a       0.016   0.005    0.028       0.022   helps
        2        b       0.027   0.007    0.046       0.022   helps
    """
    rows = [
        _row(name, subgroup, matrix, comparison, margin, seeds)
        for name, subgroup, matrix in score_matrices(scores, average)
        for comparison in comparisons
        if {comparison.arm, comparison.reference} <= set(matrix.arms)
    ]
    tests = pd.DataFrame(rows, columns=COLUMNS)
    if tests.empty:
        return tests
    leading = leading_class(tests["class"].unique(), endpoint)
    declared = ((tests["subgroup"] == OVERALL) & (tests["class"] == leading)).to_numpy()
    enough = (tests["n_effective"] >= FEWEST_UNITS).to_numpy()
    families = (
        (declared & enough, holm, holm_levels),
        (~declared & enough, benjamini_hochberg, benjamini_hochberg_levels),
    )
    for column in ("p", "p_equivalence"):
        tests[f"{column}_adjusted"] = np.nan
        for family, adjust, _ in families:
            tests.loc[family, f"{column}_adjusted"] = adjust(tests.loc[family, column].to_numpy(float))
    for family, _, levels in families:
        level = levels(tests.loc[family, "p"].to_numpy(float), ALPHA)
        half = stats.t.isf(level / 2, tests.loc[family, "df"].to_numpy(float)) * tests.loc[family, "se"]
        tests.loc[family, "ci_low_adjusted"] = tests.loc[family, "difference"] - half
        tests.loc[family, "ci_high_adjusted"] = tests.loc[family, "difference"] + half
    tests["verdict"] = _verdicts(tests)
    arms = [arm for arm in scores["arm"].cat.categories if arm in set(tests["arm"])]
    orders = {"class": scores["class"].dtype, "subgroup": scores["subgroup"].dtype}
    return tests.astype(orders | {"arm": pd.CategoricalDtype(arms, ordered=True)})


def leading_class(classes: Iterable[str], endpoint: str | None) -> str:
    """Class that conclusions are drawn on: the endpoint, else the macro average if there are several."""
    known = list(map(str, classes))
    if endpoint in known:
        return str(endpoint)
    return MACRO if MACRO in known or not known else known[0]


def _row(
    name: str, subgroup: str, matrix: ScoreMatrix, comparison: Comparison, margin: float, design: Seeds
) -> dict[str, object]:
    arm, reference = comparison.arm, comparison.reference
    found = difference(matrix, arm, reference, design)
    parts, units = found.components, max(matrix.size, 2, found.folds)
    return {
        "class": name,
        "subgroup": subgroup,
        "arm": arm,
        "reference": reference,
        "claim": comparison.claim,
        "n_images": matrix.images,
        "n_common": matrix.common_images(arm, reference),
        "n_units": found.units,
        "n_effective": float(matrix.effective.min()) * matrix.common(arm, reference),
        "n_folds": len(np.unique(matrix.fold)),
        "n_seeds": found.seeds[0],
        "n_seeds_reference": found.seeds[1],
        "seed_sd": seed_sd(matrix, arm),
        "seed_sd_reference": seed_sd(matrix, reference),
        "difference": found.estimate,
        "se": found.se,
        "df": found.df,
        "p": found.p,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "p_equivalence": equivalence(found, margin).p,
        "effect_size": standardised(found),
        "superiority": superiority(matrix, arm, reference),
        "detectable": detectable(
            parts,
            found.seeds[0],
            units,
            folds=found.folds,
            reference_seeds=found.seeds[1],
            crossed=design == "crossed",
        )
        * np.sqrt(widening(found.folds, matrix.of_folds) / widening(found.folds, found.folds))
        if parts
        else np.nan,
    }


def _verdicts(tests: pd.DataFrame) -> npt.NDArray[np.str_]:
    differs, equal = tests["p_adjusted"] < ALPHA, tests["p_equivalence_adjusted"] < ALPHA
    return np.select(
        [
            tests["difference"].isna(),
            tests["se"].isna() & tests[["seed_sd", "seed_sd_reference"]].isna().any(axis=1),
            tests["n_effective"] < FEWEST_UNITS,
            equal & (tests["claim"] == "equal"),
            differs & (tests["difference"] > 0),
            differs,
            equal,
        ],
        ["incomplete", "one seed", "too few", "equal", "helps", "hurts", "equal"],
        "no evidence",
    )
