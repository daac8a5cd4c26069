"""The test with folds: against each fold by itself, by symmetry, by what is left out, and on nulls."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.results.declaration import Comparison
from analysis.scores.image_scores import image_scores
from analysis.scores.score_matrix import Filled, ScoreMatrix, score_matrices
from analysis.stats.comparisons import compare
from analysis.stats.mrmc import Overlap, difference, widening
from benchmarks.fold_tests import Study, drawn
from metaseg.schema import AS_TRAINED, Seeds


def folded(
    rng: np.random.Generator,
    seeds: tuple[int, int] = (3, 3),
    folds: tuple[int, ...] = (10, 10, 10, 10),
    effect: float = 0.0,
    sds: tuple[float, float] = (0.006, 0.006),
    arm_unit: float = 0.01,
    error: float = 0.02,
) -> ScoreMatrix:
    """Scores of seeds that are other networks in each fold."""
    fold = np.repeat(np.arange(len(folds)), folds)
    unit = rng.normal(0.8, 0.05, len(fold))
    values = [
        shift + unit + rng.normal(0, sd, (count, len(folds)))[:, fold] + rng.normal(0, arm_unit, len(fold))
        + rng.normal(0, error, (count, len(fold)))
        for count, shift, sd in zip(seeds, (effect, 0.0), sds, strict=True)
    ]  # fmt: skip
    arm, seed = np.repeat([0, 1], seeds), np.concatenate([np.arange(count) for count in seeds])
    units = tuple(f"u{k}" for k in range(len(fold)))
    return ScoreMatrix(("sme", "baseline"), arm, seed, np.concatenate(values), units, len(units), fold=fold)


def lacking(data: ScoreMatrix, run: int, fold: int) -> ScoreMatrix:
    """The matrix as if a run had no scores in a fold: they are filled in from the arm's other runs."""
    here, others = data.fold == fold, (data.arm == data.arm[run]) & (np.arange(len(data.arm)) != run)
    values, share = data.values.copy(), np.zeros(data.values.shape)
    values[run, here] = data.values[others][:, here].mean(axis=0)
    share[run, here] = 1.0
    lacked = np.zeros((len(data.arms), len(data.units)), dtype=bool)
    return replace(data, values=values, filled=Filled(share, lacked, data.weights))


def test_folds_are_strata_whose_variances_add() -> None:
    """Each fold by itself, put together by hand."""
    data = folded(np.random.default_rng(20), (3, 4), (8, 12, 20))
    found = difference(data, "sme", "baseline", overlap="ignored")
    estimate, seeds, cases = 0.0, np.zeros(2), 0.0
    for fold in range(3):
        here = data.fold == fold
        part = ScoreMatrix(data.arms, data.arm, data.seed, data.values[:, here], tuple(np.array(data.units)[here]), 1)
        alone, share = difference(part, "sme", "baseline"), here.mean()
        assert alone.components is not None
        estimate += share * alone.estimate
        seeds += share**2 * np.array(alone.seed_variances)
        cases += share**2 * 2 * alone.components.arm_unit / here.sum()
    assert found.estimate == pytest.approx(estimate)
    assert found.seed_variances == pytest.approx(seeds)
    assert found.case_variance == pytest.approx(max(cases, 0))
    assert found.se**2 == pytest.approx(sum(found.seed_variances) + found.case_variance)
    assert (found.folds, found.seeds, found.units) == (3, (3, 4), 40)


def test_what_folds_differ_by_for_all_networks_of_an_arm_is_no_variance_of_units() -> None:
    data = folded(np.random.default_rng(21))
    shift = np.where(data.arm[:, None] == 0, np.array([0.1, -0.1, 0.05, -0.05])[data.fold], 0)
    moved = replace(data, values=data.values + shift)
    first, second = (difference(each, "sme", "baseline") for each in (data, moved))
    assert (second.estimate, second.se, second.df) == pytest.approx((first.estimate, first.se, first.df))


def test_a_seed_that_was_not_tested_in_a_fold_is_left_out_there() -> None:
    data = folded(np.random.default_rng(22), (4, 4))
    part = lacking(data, 2, 1)
    found = difference(part, "sme", "baseline", overlap="ignored")
    here = data.fold == 1
    wanted = data.of("sme").mean(axis=0) - data.of("baseline").mean(axis=0)
    wanted[here] = data.of("sme")[[0, 1, 3]][:, here].mean(axis=0) - data.of("baseline")[:, here].mean(axis=0)
    assert found.estimate == pytest.approx(wanted.mean())
    means = np.stack([data.of("sme")[:, data.fold == fold].mean(axis=1) / 4 for fold in range(4)])
    parts = [m.var(ddof=1) / 4 if fold != 1 else m[[0, 1, 3]].var(ddof=1) / 3 for fold, m in enumerate(means)]
    assert found.seed_variances[0] == pytest.approx(sum(parts))
    whole = difference(data, "sme", "baseline", overlap="ignored")
    assert found.seed_variances[1] == pytest.approx(whole.seed_variances[1])


def test_a_fold_that_an_arm_lacks_is_taken_to_be_as_the_others() -> None:
    """As if the reference had none there, either: what is filled in has the difference of the other folds."""
    data = folded(np.random.default_rng(31), (3, 3), (10,) * 4)
    gone, ours = data.fold == 3, data.arm == 0
    values, share = data.values.copy(), np.zeros(data.values.shape)
    shift = values[ours][:, ~gone].mean() - values[~ours][:, ~gone].mean()
    values[np.ix_(ours, gone)] = values[np.ix_(~ours, gone)].mean(axis=0) + shift
    share[np.ix_(ours, gone)] = 1.0
    filled = Filled(share, np.stack([gone, np.zeros_like(gone)]), data.weights)
    found = difference(replace(data, values=values, filled=filled), "sme", "baseline")
    left = ScoreMatrix(
        data.arms, data.arm, data.seed, data.values[:, ~gone], data.units[:30], 30,
        fold=data.fold[~gone], of_folds=4,
    )  # fmt: skip
    wanted = difference(left, "sme", "baseline")
    assert found.estimate == pytest.approx(wanted.estimate)
    assert found.seed_variances == pytest.approx(wanted.seed_variances)
    assert found.se == pytest.approx(wanted.se, rel=0.05)
    assert found.folds == 3


def test_a_fold_with_one_seed_of_an_arm_has_the_variance_of_the_others() -> None:
    data = folded(np.random.default_rng(23), (2, 2))
    found = difference(lacking(data, 0, 3), "sme", "baseline", overlap="ignored")
    means = np.stack([data.of("sme")[:, data.fold == fold].mean(axis=1) / 4 for fold in range(3)])
    several = means.var(axis=1, ddof=1)
    assert found.seed_variances[0] == pytest.approx(several.sum() / 2 + several.mean())


@pytest.mark.parametrize("seeds", [(1, 1), (1, 4)])
def test_with_one_seed_in_each_fold_the_folds_are_what_varies(seeds: tuple[int, int]) -> None:
    data = folded(np.random.default_rng(24), seeds, sds=(0.03, 0.03))
    found = difference(data, "sme", "baseline", overlap="ignored")
    changes = data.of("sme").mean(axis=0) - data.of("baseline").mean(axis=0)
    student = stats.ttest_1samp([changes[data.fold == fold].mean() for fold in range(4)], 0)
    assert (found.t, found.df, found.p) == pytest.approx((student.statistic, 3, student.pvalue))
    assert found.components is None
    assert found.se**2 == pytest.approx(sum(found.seed_variances) + found.case_variance)
    two = replace(data, fold=data.fold // 2)
    assert np.isnan(difference(two, "sme", "baseline").p), "two folds are too few"


@pytest.mark.parametrize("seeds", [(1, 1), (3, 3), (2, 4)])
def test_where_a_fold_is_a_unit_it_is_the_paired_test_on_groups_that_are_left_out(seeds: tuple[int, int]) -> None:
    data = folded(np.random.default_rng(25), seeds, (1,) * 10)
    found = difference(data, "sme", "baseline", overlap="ignored")
    paired = stats.ttest_rel(data.of("sme").mean(axis=0), data.of("baseline").mean(axis=0))
    assert (found.t, found.df, found.p) == pytest.approx((paired.statistic, 9, paired.pvalue))
    assert (found.components is None) == (seeds == (1, 1))


def test_strata_with_a_fold_of_one_unit_count_networks_once() -> None:
    """One of 41 units is a fold by itself: the units' variance has the seeds' in it, which is taken off."""
    rng, found = np.random.default_rng(32), []
    for _ in range(300):
        data = folded(rng, (3, 3), (20, 20, 1), sds=(0.02, 0.02))
        tested = difference(data, "sme", "baseline", overlap="ignored")
        found.append((tested.estimate, tested.se**2))
    estimates, variances = np.array(found).T
    assert estimates.var() * 0.8 < variances.mean() < estimates.var() * 1.3


def test_crossed_seeds_in_folds_are_pairs_of_networks() -> None:
    data = folded(np.random.default_rng(26))
    shift = np.random.default_rng(27).normal(0, 0.1, (3, 4))[:, data.fold]
    moved = replace(data, values=data.values + np.tile(shift, (2, 1)))
    first, second = (difference(each, "sme", "baseline", seeds="crossed") for each in (data, moved))
    assert (second.se, second.df) == pytest.approx((first.se, first.df))
    assert difference(moved, "sme", "baseline").se > 3 * second.se


@pytest.mark.parametrize(
    ("seeds", "folds", "sds"),
    [
        ((3, 3), (10,) * 4, (0.006, 0.006)),
        ((2, 2), (15,) * 5, (0.003, 0.012)),
        ((1, 1), (15,) * 5, (0.006, 0.006)),
        ((3, 2), (30, 10, 10, 10), (0.003, 0.012)),
    ],
)
def test_equal_arms_in_folds_are_told_apart_no_more_often_than_promised(
    seeds: tuple[int, int], folds: tuple[int, ...], sds: tuple[float, float]
) -> None:
    """400 draws of independent folds: 6 % are 24, whose standard deviation is 4.7."""
    rng = np.random.default_rng(28)
    found = (difference(folded(rng, seeds, folds, sds=sds), "sme", "baseline", overlap="ignored") for _ in range(400))
    assert sum(each.p < 0.05 for each in found) <= 38


def test_a_planted_effect_is_found_in_folds() -> None:
    rng = np.random.default_rng(29)
    found = [difference(folded(rng, (2, 2), (20,) * 5, effect=0.015), "sme", "baseline") for _ in range(100)]
    assert np.mean([each.p < 0.05 for each in found]) > 0.6
    assert np.mean([each.ci_low <= 0.015 <= each.ci_high for each in found]) > 0.88


@pytest.mark.parametrize(
    ("seeds", "folds"), [((3, 4), (8, 12, 20)), ((2, 2), (20, 20)), ((1, 1), (10,) * 5), ((3, 3), (1,) * 10)]
)
@pytest.mark.parametrize("design", ["nested", "crossed"])
def test_folds_that_depend_on_each_other_widen_the_standard_error_and_nothing_else(
    seeds: tuple[int, int], folds: tuple[int, ...], design: Seeds
) -> None:
    data = folded(np.random.default_rng(33), seeds, folds, effect=0.01)
    wide, plain = (difference(data, "sme", "baseline", design, overlap=each) for each in get_args(Overlap))
    count = len(folds)
    factor = np.sqrt(1 + count / (count - 1))
    assert wide.se == pytest.approx(factor * plain.se)
    assert (wide.estimate, wide.df) == pytest.approx((plain.estimate, plain.df))
    assert wide.ci_high - wide.estimate == pytest.approx(factor * (plain.ci_high - plain.estimate))
    assert wide.p == pytest.approx(2 * stats.t.sf(plain.t / factor, plain.df))
    assert sum(wide.seed_variances) + wide.case_variance == pytest.approx(wide.se**2)
    assert (wide.components, wide.folds) == (plain.components, count)


def test_without_folds_nothing_is_widened() -> None:
    data = folded(np.random.default_rng(34), folds=(40,))
    assert difference(data, "sme", "baseline") == difference(data, "sme", "baseline", overlap="ignored")


def test_where_images_move_arms_by_training_too_the_widened_interval_misses_far_less() -> None:
    """400 draws: 8 % and 24 % have standard deviations of 1.4 and 2.1 %. An image does by training what it does by
    being tested."""
    study, missed = Study(100, 5, 2, 0.0, coupling=1.0), []
    for scores in zip(*drawn(np.random.default_rng(35), study, 400), strict=True):
        values = np.concatenate(scores).reshape(4, 100)
        units = tuple(map(str, range(100)))
        data = ScoreMatrix(
            ("a", "b"), np.array([0, 0, 1, 1]), np.arange(4), values, units, 100, fold=np.repeat(np.arange(5), 20)
        )
        missed.append([difference(data, "a", "b", overlap=each).p < 0.05 for each in get_args(Overlap)])
    wide, plain = np.mean(missed, axis=0)
    assert plain > 0.17
    assert wide < min(0.13, plain / 2)


@pytest.mark.parametrize(
    ("tested", "factor"),
    [((0, 1, 2, 3, 4), 2.25), ((1, 2, 3, 4), 2.0), ((0, 1), 1.5), ((3, 4), 1.5), ((0,), 1.25)],
)
def test_variance_widens_by_the_folds_tested_of_the_folds_of_the_study(tested: tuple[int, ...], factor: float) -> None:
    """Nadeau and Bengio's factor: the ratio of test to training data is the study's, whatever part is tested."""
    rng = np.random.default_rng(31)
    data = replace(folded(rng, folds=(12,) * len(tested)), of_folds=5)
    data = replace(data, fold=np.array(tested)[data.fold])
    wide, plain = (difference(data, "sme", "baseline", overlap=each) for each in get_args(Overlap))
    assert (wide.se / plain.se) ** 2 == pytest.approx(factor)
    assert widening(len(tested), 5) == pytest.approx(factor)
    assert wide.df == pytest.approx(plain.df)


@pytest.mark.parametrize(("lies_in", "factor"), [("01234", 2.25), ("12", 1.5), ("0", 1.25)])
def test_a_subgroup_that_lies_in_some_folds_counts_the_folds_of_the_study(lies_in: str, factor: float) -> None:
    """Also those that have no finished run yet."""
    rng, rows = np.random.default_rng(32), []
    for image in range(60):
        fold, level = str(image % 5), rng.normal(0.8, 0.05)
        if fold == "4" and "4" not in lies_in:
            continue
        for arm in ("baseline", "sme"):
            for seed in range(3):
                subgroup = "own" if fold in lies_in and image < 50 else "rest"
                score = level + rng.normal(0, 0.02)
                rows.append(["cell", arm, seed, fold, subgroup, f"{image}", f"{image}", score, AS_TRAINED])
    columns = ["class", "arm", "seed", "fold", "subgroup", "group", "image", "score", "evaluation"]
    scores = image_scores(
        pd.DataFrame(rows, columns=columns).assign(metric="score"), ["baseline", "sme"], "score", folds=list("01234")
    )
    matrix = next(matrix for _, subgroup, matrix in score_matrices(scores) if subgroup == "own")
    wide, plain = (difference(matrix, "sme", "baseline", overlap=each) for each in get_args(Overlap))
    assert (wide.folds, matrix.of_folds) == (len(lies_in), 5)
    assert (wide.se / plain.se) ** 2 == pytest.approx(factor)
    tests = compare(scores, [Comparison("sme", "baseline")], 0.01).set_index("subgroup")
    assert tests.loc["own", "se"] == pytest.approx(wide.se)
    assert tests.loc["own", "detectable"] > 2 * wide.se, "it is widened, too"
