"""The tests against the baseline: by hand, on nulls and on planted effects."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.scores import OVERALL, summarise
from analysis.significance import compare, holm, signed_rank, smallest_holm

Array = npt.NDArray[np.float64]


def make_scores(f1: dict[str, Array], subgroup: Sequence[str], group: Sequence[str] | None = None) -> pd.DataFrame:
    """Scores as `image_scores` returns them; f1 holds (seeds, images) for each arm."""
    image = [f"{i}.png" for i in range(len(subgroup))]
    frames = [
        pd.DataFrame(
            {"arm": arm, "seed": seed, "subgroup": subgroup, "group": group or image, "image": image, "f1": row}
        )
        for arm, values in f1.items()
        for seed, row in enumerate(values)
    ]
    scores = pd.concat(frames, ignore_index=True).assign(**{"class": "nucleus"}, empty=False)
    orders = {"class": ["nucleus"], "arm": list(f1), "subgroup": [OVERALL, *sorted(set(subgroup))]}
    return scores.astype({column: pd.CategoricalDtype(order, ordered=True) for column, order in orders.items()})


def one(tests: pd.DataFrame, subgroup: str = OVERALL, arm: str = "sme") -> "pd.Series[float]":
    return tests[(tests["subgroup"] == subgroup) & (tests["arm"] == arm)].iloc[0]


def sign_flips(differences: Array) -> float:
    """Two-sided exact signed-rank p by enumeration of all signs of the nonzero differences."""
    changed = differences[differences != 0]
    ranks = stats.rankdata(np.abs(changed))
    centre = ranks.sum() / 2
    outcomes = [np.dot(ranks, signs) for signs in itertools.product([0, 1], repeat=len(ranks))]
    extreme = np.abs(np.array(outcomes) - centre) >= np.abs(ranks[changed > 0].sum() - centre) - 1e-9
    return float(np.mean(extreme))


@pytest.mark.parametrize(
    "differences",
    [
        [0.1, 0.2, 0.3, -0.4, 0.5, 0.6, 0.7],
        [0.1, 0.1, -0.1, 0.3, 0.3, 0.5, 0.2, 0.2],
        [0.0, 0.0, 0.1, 0.2, -0.3, 0.4, 0.4, 0.9],
        [-0.2],
    ],
    ids=["distinct", "ties", "zeros and ties", "a single one"],
)
def test_small_samples_have_exact_p_values(differences: list[float]) -> None:
    assert signed_rank(np.array(differences))[0] == pytest.approx(sign_flips(np.array(differences)))


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_p_values_are_exact_whatever_the_ties(values: list[int]) -> None:
    assert signed_rank(np.array(values) / 10)[0] == pytest.approx(sign_flips(np.array(values)))


@pytest.mark.parametrize(("size", "method"), [(20, "exact"), (50, "exact"), (51, "asymptotic"), (200, "asymptotic")])
def test_larger_samples_agree_with_scipy(size: int, method: str) -> None:
    differences = np.random.default_rng(size).normal(0.3, 1, size)
    assert signed_rank(differences)[0] == pytest.approx(stats.wilcoxon(differences, method=method).pvalue)
    assert signed_rank(differences)[1] == np.sign(stats.rankdata(np.abs(differences)) @ np.sign(differences))


def test_no_change_at_all_has_p_1() -> None:
    assert signed_rank(np.zeros(9)) == (1.0, 0)


def test_float_error_is_neither_a_change_nor_breaks_a_tie() -> None:
    assert signed_rank(np.array([0.1 + 0.2 - 0.3] * 7)) == (1.0, 0)
    noise = np.array([0, 1e-16, -1e-16, 2e-16, 0, 0])
    assert signed_rank(np.array([0.1, -0.1, 0.1, 0.1, 0.2, -0.3]) + noise)[0] == pytest.approx(
        sign_flips(np.array([0.1, -0.1, 0.1, 0.1, 0.2, -0.3]))
    )


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_holm_agrees_with_statsmodels_family_by_family() -> None:
    p = np.random.default_rng(7).uniform(0, 0.2, (3, 9)).round(2)
    np.testing.assert_allclose(holm(p), [multipletests(family, method="holm")[1] for family in p])


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=8))
def test_the_smallest_reachable_p_is_a_lower_bound_that_is_reached(values: list[float]) -> None:
    p = np.array(values)
    assert np.all(smallest_holm(p, p / 2) <= holm(p) + 1e-12)
    np.testing.assert_allclose(smallest_holm(p, p), holm(p))


def test_a_comparison_is_scipys_test_on_means_of_groups() -> None:
    rng = np.random.default_rng(1)
    base, other = rng.uniform(0.5, 0.9, (3, 30)), rng.uniform(0.52, 0.9, (2, 30))
    subgroup, group = ["a"] * 18 + ["b"] * 12, [f"well {i // 2}" for i in range(30)]
    tests = compare(make_scores({"baseline": base, "sme": other}, subgroup, group), "baseline")
    wells = (other.mean(0) - base.mean(0)).reshape(15, 2).mean(1)
    for name, part in (("a", wells[:9]), ("b", wells[9:]), (OVERALL, wells)):
        row = one(tests, name)
        interval = stats.ttest_1samp(part, 0).confidence_interval(0.95)
        assert row["p"] == pytest.approx(stats.wilcoxon(part).pvalue)
        assert (row["n_units"], row["n_images"]) == (len(part), 2 * len(part))
        assert row["difference"] == pytest.approx(part.mean())
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(interval))


def test_differences_are_those_of_the_table_whatever_the_sizes_of_groups() -> None:
    rng = np.random.default_rng(2)
    group = [f"well {i}" for i in np.repeat(range(6), [1, 1, 2, 3, 5, 8])]
    scores = make_scores({arm: rng.uniform(0, 1, (3, 20)) for arm in ("baseline", "sme")}, ["a", "b"] * 10, group)
    means = summarise(scores).pivot(index="subgroup", columns="arm", values="mean")
    differences = compare(scores, "baseline").set_index("subgroup")["difference"]
    np.testing.assert_allclose(differences, (means["sme"] - means["baseline"])[differences.index])


def test_subgroups_are_one_family_and_overall_comparisons_another() -> None:
    rng = np.random.default_rng(3)
    f1 = {arm: rng.uniform(0.5, 0.9, (1, 40)) + shift for arm, shift in (("baseline", 0.0), ("me", 0.05), ("sme", 0.1))}
    tests = compare(make_scores(f1, ["a", "b"] * 20), "baseline")
    overall = tests["subgroup"] == OVERALL
    for family, size in ((tests[overall], 2), (tests[~overall], 4)):
        ordered = family.sort_values("p")
        by_hand = np.minimum(np.maximum.accumulate(ordered["p"].to_numpy() * np.arange(size, 0, -1)), 1)
        np.testing.assert_allclose(ordered["p_holm"], by_hand)


def test_a_planted_effect_is_found_where_it_is_and_with_its_sign() -> None:
    rng = np.random.default_rng(4)
    subgroup = ["up"] * 20 + ["down"] * 20 + ["same"] * 20
    base = rng.uniform(0.6, 0.9, 60) + np.array([[0.0], [0.001]])
    effect = np.repeat([0.05, -0.05, 0.0], 20)
    f1 = {"baseline": base, "sme": base + effect + rng.normal(0, 0.02, 60)}
    verdicts = compare(make_scores(f1, subgroup), "baseline").set_index("subgroup")["verdict"]
    assert verdicts.drop(OVERALL).to_dict() == {"up": "helps", "down": "hurts", "same": "no evidence"}


def test_the_seeds_test_is_welchs_on_the_means_of_runs() -> None:
    rng = np.random.default_rng(5)
    f1 = {"baseline": rng.uniform(0.5, 0.6, (4, 12)), "sme": rng.uniform(0.5, 0.7, (3, 12))}
    row = one(compare(make_scores(f1, ["all"] * 12), "baseline"))
    expected = stats.ttest_ind(f1["sme"].mean(axis=1), f1["baseline"].mean(axis=1), equal_var=False).pvalue
    assert row["p_seeds"] == pytest.approx(expected)


@pytest.mark.parametrize(("spread", "verdict"), [(0.0, "helps"), (0.001, "helps"), (0.03, "seed noise")])
def test_a_difference_that_seeds_could_make_is_no_help(spread: float, verdict: str) -> None:
    """Every image gains, so the images' test is sure; whether new seeds would gain depends on how much seeds differ."""
    images = np.random.default_rng(6).uniform(0.5, 0.7, 30)
    seeds = spread * np.array([[-1.0], [0.0], [1.0]])
    f1 = {"baseline": images + seeds, "sme": images + 0.02 + seeds}
    row = one(compare(make_scores(f1, ["all"] * 30), "baseline"))
    assert row["p_holm"] < 0.001
    assert row["verdict"] == verdict


def test_one_seed_cant_tell_seeds_from_effect() -> None:
    f1 = {"baseline": np.full((1, 30), 0.5), "sme": np.linspace(0.6, 0.7, 30)[None]}
    row = one(compare(make_scores(f1, ["all"] * 30), "baseline"))
    assert np.isnan(row["p_seeds"])
    assert row["verdict"] == "one seed"


def test_too_few_units_to_decide_are_said_to_be() -> None:
    base = np.full((1, 20), 0.5)
    better = base + np.linspace(0.1, 0.2, 20)
    tests = compare(make_scores({"baseline": base, "sme": better}, ["big"] * 17 + ["small"] * 3), "baseline")
    assert one(tests, "small")["p"] == one(tests, "small")["p_smallest"] == 0.25
    assert (one(tests, "small")["verdict"], one(tests, "big")["verdict"]) == ("too few", "one seed")


@pytest.mark.parametrize(("arms", "verdict"), [(1, "one seed"), (2, "too few")])
def test_correction_can_put_a_decision_out_of_reach(arms: int, verdict: str) -> None:
    base = np.full((1, 6), 0.5)
    f1 = {"baseline": base, **{f"arm {i}": base + np.linspace(0.1, 0.2, 6) for i in range(arms)}}
    tests = compare(make_scores(f1, ["all"] * 6), "baseline")
    assert tests["p_holm"].tolist() == [0.03125 * arms] * arms
    assert tests["verdict"].tolist() == [verdict] * arms


def test_groups_and_images_that_disagree_are_no_verdict() -> None:
    group = [f"well {i}" for i in range(15)] + ["big well"] * 50
    base = np.full((1, 65), 0.5)
    other = base + np.r_[np.linspace(0.01, 0.02, 15), np.full(50, -0.05)]
    row = one(compare(make_scores({"baseline": base, "sme": other}, ["all"] * 65, group), "baseline"))
    assert row["difference"] < 0
    assert row["p_holm"] < 0.05
    assert row["verdict"] == "mixed"


@pytest.mark.parametrize("arms", [["sme", "me"], ["baseline"]])
def test_nothing_is_compared_without_the_baseline_or_another_arm(arms: list[str]) -> None:
    tests = compare(make_scores({arm: np.full((1, 4), 0.5) for arm in arms}, ["a"] * 4), "baseline")
    assert tests.empty
    assert "p_holm" in tests.columns


def simulate_null(simulations: int, groups: int, size: int, shared: float, rng: np.random.Generator) -> pd.DataFrame:
    """Scores without an effect; each subgroup is a simulation. SD: `shared` by a group's images, 0.02 of each image."""
    images = groups * size
    subgroup = [f"{i:03}" for i in range(simulations) for _ in range(images)]
    group = [f"{i}-{j}" for i in range(simulations) for j in range(groups) for _ in range(size)]
    base = rng.uniform(0.5, 0.9, (1, simulations * images))
    noise = rng.normal(0, shared, simulations * groups).repeat(size) + rng.normal(0, 0.02, simulations * images)
    return make_scores({"baseline": base, "sme": base + noise}, subgroup, group)


def test_false_positives_stay_at_the_nominal_level() -> None:
    p = compare(simulate_null(400, 20, 1, 0.0, np.random.default_rng(5)), "baseline").query("subgroup != @OVERALL")["p"]
    assert 0.02 < (p < 0.05).mean() < 0.08
    families = holm(p.to_numpy().reshape(80, 5))
    assert (families.min(axis=1) < 0.05).mean() < 0.125  # 0.05 + 3 standard errors


def test_correlated_images_of_a_group_dont_count_as_evidence() -> None:
    scores = simulate_null(200, 12, 8, 0.04, np.random.default_rng(6))
    by_group, by_image = (
        compare(table, "baseline").query("subgroup != @OVERALL")["p"]
        for table in (scores, scores.assign(group=scores["image"]))
    )
    assert (by_group < 0.05).mean() < 0.1
    assert (by_image < 0.05).mean() > 0.3
