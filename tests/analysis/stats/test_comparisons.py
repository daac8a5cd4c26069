"""The declared comparisons: their tests, families and verdicts; on planted effects and on nulls."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.results.declaration import Comparison
from analysis.scores.image_scores import summarise
from analysis.stats.comparisons import COLUMNS, FEWEST_UNITS, compare
from checkout import ROOT
from fake_store import make_scores, simulate
from metaseg.schema import OVERALL, Claim

Array = npt.NDArray[np.float64]

SME = [Comparison("sme", "baseline")]
MARGIN = 0.01


def one(tests: pd.DataFrame, subgroup: str = OVERALL, arm: str = "sme") -> pd.Series:
    return tests[(tests["subgroup"] == subgroup) & (tests["arm"] == arm)].iloc[0]


def verdict(scores: pd.DataFrame, claim: Claim = "differs", margin: float = MARGIN) -> str:
    return str(one(compare(scores, [Comparison("sme", "baseline", claim)], margin))["verdict"])


def test_equal_runs_are_compared_by_the_paired_test_of_their_groups() -> None:
    """Seeds of equal bits vary by nothing: what remains are units, which are wells."""
    rng = np.random.default_rng(1)
    base, other = rng.uniform(0.5, 0.9, 60), rng.uniform(0.52, 0.9, 60)
    group = [f"well {i // 2}" for i in range(60)]
    scores = make_scores({"baseline": base[None].repeat(3, 0), "sme": other[None].repeat(2, 0)}, ["a"] * 60, group)
    row = one(compare(scores, SME, MARGIN))
    change = (other - base).reshape(30, 2).mean(axis=1)
    found = stats.ttest_1samp(change, 0)
    assert (row["n_images"], row["n_units"], row["n_seeds"], row["n_seeds_reference"]) == (60, 30, 2, 3)
    assert (row["difference"], row["p"], row["df"]) == pytest.approx((change.mean(), found.pvalue, 29))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(found.confidence_interval(0.95)))


def test_differences_are_those_of_the_table_whatever_the_sizes_of_groups() -> None:
    rng = np.random.default_rng(2)
    group = [f"well {i}" for i in np.repeat(range(6), [1, 1, 2, 3, 5, 8])]
    scores = make_scores({arm: rng.uniform(0, 1, (3, 20)) for arm in ("baseline", "sme")}, ["a", "b"] * 10, group)
    means = summarise(scores).pivot(index="subgroup", columns="arm", values="mean")
    differences = compare(scores, SME, MARGIN).set_index("subgroup")["difference"]
    np.testing.assert_allclose(differences, (means["sme"] - means["baseline"])[differences.index])


def families(scores: pd.DataFrame, endpoint: str | None = None) -> pd.DataFrame:
    comparisons = [*SME, Comparison("me", "baseline"), Comparison("sme", "me", "equal")]
    return compare(scores, comparisons, 0.02, endpoint=endpoint)


@pytest.mark.parametrize(("raw", "adjusted"), [("p", "p_adjusted"), ("p_equivalence", "p_equivalence_adjusted")])
def test_declared_comparisons_are_holms_family_and_subgroups_that_of_benjamini_and_hochberg(
    raw: str, adjusted: str
) -> None:
    rng = np.random.default_rng(3)
    scores = make_scores(simulate(rng, 60, baseline=0.0, me=0.005, sme=0.01), ["a", "b", "c"] * 20)
    tests = families(scores)
    overall = tests["subgroup"] == OVERALL
    assert (overall.sum(), len(tests)) == (3, 12)
    for family, method in ((overall, "holm"), (~overall, "fdr_bh")):
        expected = multipletests(tests.loc[family, raw], method=method)[1]
        np.testing.assert_allclose(tests.loc[family, adjusted], expected)


def test_classes_other_than_the_endpoint_are_exploration() -> None:
    rng = np.random.default_rng(4)
    scores = pd.concat(
        [
            make_scores(simulate(rng, 30, baseline=0.0, me=0.005, sme=0.01), ["all"] * 30).assign(**{"class": name})
            for name in ("kidney", "tumour", "macro")
        ],
        ignore_index=True,
    ).astype({"class": pd.CategoricalDtype(["kidney", "tumour", "macro"], ordered=True)})
    for endpoint, leading in ((None, "macro"), ("tumour", "tumour"), ("cyst", "macro")):
        tests = families(scores, endpoint)
        declared = tests["class"] == leading
        assert declared.sum() == 3
        for family, method in ((declared, "holm"), (~declared, "fdr_bh")):
            expected = multipletests(tests.loc[family, "p"], method=method)[1]
            np.testing.assert_allclose(tests.loc[family, "p_adjusted"], expected)


def test_subgroups_of_too_few_units_are_in_no_family() -> None:
    """Their p-values aren't to be trusted: they are neither corrected nor change what others are corrected to."""
    rng = np.random.default_rng(5)
    few = FEWEST_UNITS - 1
    f1 = simulate(rng, 40 + few, baseline=0.0, sme=0.004)
    f1["sme"][:, 40:] = f1["baseline"][:, 40:] + 0.1  # a tiny p that means nothing
    tests = compare(make_scores(f1, ["a", "b"] * 20 + ["few"] * few), SME, MARGIN).set_index("subgroup")
    assert tests.loc["few", "p"] < tests.loc["b", "p"]
    assert np.isnan(tests.loc["few", ["p_adjusted", "p_equivalence_adjusted"]].to_numpy(float)).all()
    assert tests.loc["few", "verdict"] == "too few"
    expected = multipletests(tests.loc[["a", "b"], "p"], method="fdr_bh")[1]
    np.testing.assert_allclose(tests.loc[["a", "b"], "p_adjusted"], expected)


def test_a_planted_effect_is_found_where_it_is_and_with_its_sign() -> None:
    rng = np.random.default_rng(6)
    subgroup = ["up"] * 30 + ["down"] * 30 + ["same"] * 30
    f1 = simulate(rng, 90, arm_image=0.003, baseline=0.0, sme=np.repeat([0.05, -0.05, 0.0], 30))
    verdicts = compare(make_scores(f1, subgroup), SME, MARGIN).set_index("subgroup")["verdict"]
    assert verdicts.drop(OVERALL).to_dict() == {"up": "helps", "down": "hurts", "same": "equal"}


@pytest.mark.parametrize(("spread", "expected"), [(0.0, "helps"), (0.001, "helps"), (0.03, "no evidence")])
def test_a_difference_that_seeds_could_make_is_no_help(spread: float, expected: str) -> None:
    """Every image gains, so images are sure; whether new seeds would gain depends on how much seeds differ."""
    rng = np.random.default_rng(7)
    images = rng.uniform(0.5, 0.7, 30)
    seeds = spread * np.array([[-1.0], [0.0], [1.0]])
    f1 = {"baseline": images + seeds, "sme": images + 0.02 + rng.normal(0, 0.002, 30) + seeds}
    assert stats.wilcoxon(f1["sme"].mean(axis=0) - f1["baseline"].mean(axis=0)).pvalue < 0.001
    assert verdict(make_scores(f1, ["all"] * 30), margin=0.001) == expected


@pytest.mark.parametrize("seeds", [(1, 1), (1, 5), (5, 1)])
@pytest.mark.parametrize("claim", ["differs", "equal"])
def test_one_seed_is_never_starred(seeds: tuple[int, int], claim: Claim) -> None:
    rng = np.random.default_rng(8)
    f1 = simulate(rng, 40, seeds=5, baseline=0.0, sme=0.2)
    scores = make_scores({"baseline": f1["baseline"][: seeds[0]], "sme": f1["sme"][: seeds[1]]}, ["a", "b"] * 20)
    tests = compare(scores, [Comparison("sme", "baseline", claim)], MARGIN)
    assert (tests["verdict"] == "one seed").all()
    known = ["difference", "superiority"]
    assert tests[["p", "p_adjusted", "se", "ci_low", "p_equivalence_adjusted", "detectable"]].isna().all(axis=None)
    assert tests[known].notna().all(axis=None)


@pytest.mark.parametrize(("units", "expected"), [(FEWEST_UNITS - 1, "too few"), (FEWEST_UNITS, "helps")])
def test_below_the_fewest_units_nothing_is_tested_however_many_images_they_have(units: int, expected: str) -> None:
    rng = np.random.default_rng(9)
    f1 = simulate(rng, 90, seed=0.001, baseline=0.0, sme=0.2)
    assert verdict(make_scores(f1, ["all"] * 90, [f"well {i % units}" for i in range(90)])) == expected


def test_one_image_in_a_group_and_many_in_another_are_a_unit_each() -> None:
    f1 = simulate(np.random.default_rng(10), 40, baseline=0.0, sme=0.0)
    group = ["large"] * 20 + [f"single {i}" for i in range(20)]
    assert one(compare(make_scores(f1, ["all"] * 40, group), SME, MARGIN))["n_units"] == 21


def test_a_subgroup_of_one_image_is_too_few_and_breaks_nothing() -> None:
    f1 = simulate(np.random.default_rng(11), 31, baseline=0.0, sme=0.1)
    tests = compare(make_scores(f1, ["many"] * 30 + ["one"]), SME, MARGIN).set_index("subgroup")
    assert tests["verdict"].to_dict() == {OVERALL: "helps", "many": "helps", "one": "too few"}
    assert np.isnan(tests.loc["one", "p"])


def test_what_is_within_the_margin_is_equal_and_first_so_where_that_was_claimed() -> None:
    """+0.003 for sure: a difference, and one that doesn't matter. Which of the two is said, the claim decides."""
    f1 = simulate(
        np.random.default_rng(12), 100, seeds=5, seed=1e-4, arm_image=1e-3, error=1e-3, baseline=0.0, sme=0.003
    )
    scores = make_scores(f1, ["all"] * 100)
    assert [verdict(scores, claim) for claim in ("differs", "equal")] == ["helps", "equal"]
    assert verdict(scores, "equal", margin=0.001) == "helps"
    same = make_scores(f1 | {"sme": f1["sme"] - 0.003}, ["all"] * 100)
    assert [verdict(same, claim) for claim in ("differs", "equal")] == ["equal", "equal"]
    assert verdict(same, "equal", margin=1e-5) == "no evidence"


@pytest.mark.parametrize("arms", [["sme", "me"], ["baseline"]])
def test_nothing_is_compared_without_the_baseline_or_another_arm(arms: list[str]) -> None:
    scores = make_scores({arm: np.full((1, 4), 0.5) for arm in arms}, ["a"] * 4)
    tests = compare(scores, [Comparison(arm, "baseline") for arm in ("sme", "me")], MARGIN)
    assert tests.empty
    assert list(tests.columns) == COLUMNS


def test_columns_are_documented() -> None:
    f1 = simulate(np.random.default_rng(13), baseline=0.0, sme=0.0)
    assert list(compare(make_scores(f1, ["all"] * 40), SME, MARGIN).columns) == COLUMNS
    reference = (ROOT / "docs" / "reference" / "analysis.md").read_text()
    table = reference.partition("## `tests.csv`")[2]
    assert [column for column in COLUMNS if f"`{column}`" not in table] == []
    said = compare.__doc__ or ""
    assert [name for name in COLUMNS[5:] if name not in said] == []


def null(simulations: int, groups: int, size: int, shared: float, rng: np.random.Generator) -> pd.DataFrame:
    """Scores without an effect; each subgroup is a simulation. SD: `shared` by an arm's images of a group."""
    parts: list[dict[str, Array]] = []
    for _ in range(simulations):
        f1 = simulate(rng, groups * size, baseline=0.0, sme=0.0)
        parts.append({arm: values + rng.normal(0, shared, groups).repeat(size) for arm, values in f1.items()})
    f1 = {arm: np.concatenate([part[arm] for part in parts], axis=1) for arm in ("baseline", "sme")}
    subgroup = [f"{i:03}" for i in range(simulations) for _ in range(groups * size)]
    group = [f"{i}-{j}" for i in range(simulations) for j in range(groups) for _ in range(size)]
    return make_scores(f1, subgroup, group)


def rate(scores: pd.DataFrame) -> float:
    tests = compare(scores, SME, MARGIN).query("subgroup != @OVERALL")
    return float((tests["p"] < 0.05).mean())


def test_false_positives_stay_at_the_nominal_level() -> None:
    assert 0.02 < rate(null(200, 40, 1, 0.0, np.random.default_rng(14))) < 0.09


def test_correlated_images_of_a_group_dont_count_as_evidence() -> None:
    scores = null(100, 30, 4, 0.04, np.random.default_rng(15))
    assert rate(scores) < 0.12
    assert rate(scores.assign(group=scores["image"])) > 0.2


def test_orders_are_those_of_the_scores() -> None:
    arms: Sequence[str] = ("baseline", "z", "a")
    f1 = simulate(np.random.default_rng(16), **dict.fromkeys(arms, 0.0))
    comparisons = [Comparison("z", "baseline"), Comparison("a", "baseline"), Comparison("a", "z")]
    tests = compare(make_scores(f1, ["y", "x"] * 20), comparisons, MARGIN)
    assert list(tests["arm"].cat.categories) == ["z", "a"]
    assert tests["subgroup"].astype(str).tolist() == [OVERALL] * 3 + ["x"] * 3 + ["y"] * 3
    assert tests["reference"].tolist() == ["baseline", "baseline", "z"] * 3


def test_adjusted_intervals_exclude_zero_exactly_where_the_verdict_says_so() -> None:
    shift = {"sme": 0.02, "me": 0.007, "film": 0.0, "se": -0.006}
    scores = make_scores(
        simulate(np.random.default_rng(21), 60, baseline=0.0, **shift), [f"s{i % 4}" for i in range(60)]
    )
    tests = compare(scores, [Comparison(arm, "baseline") for arm in shift], MARGIN)
    apart = (tests["ci_low_adjusted"] > 0) | (tests["ci_high_adjusted"] < 0)
    assert apart.to_list() == (tests["p_adjusted"] < 0.05).to_list()
    assert apart.any()
    assert not apart.all()
    assert (tests["ci_low_adjusted"] <= tests["ci_low"] + 1e-12).all()
    assert (tests["ci_high_adjusted"] >= tests["ci_high"] - 1e-12).all()


def test_the_spread_of_each_arms_seeds_stands_beside_the_test() -> None:
    f1 = simulate(np.random.default_rng(22), 60, baseline=0.0, sme=0.0)
    row = compare(make_scores(f1, ["all"] * 60), SME, MARGIN).iloc[0]
    assert row["seed_sd"] == pytest.approx(f1["sme"].mean(axis=1).std(ddof=1))
    assert row["seed_sd_reference"] == pytest.approx(f1["baseline"].mean(axis=1).std(ddof=1))


def test_crossed_seeds_are_tested_as_pairs() -> None:
    """Only the test of pairs finds what arms differ by where seeds move both alike."""
    rng = np.random.default_rng(4)
    runs = simulate(rng, seeds=4, seed=0.0, baseline=0.0, sme=0.01)
    moved = rng.normal(0, 0.03, (4, 1))
    scores = make_scores({arm: values + moved for arm, values in runs.items()}, ["a"] * 40)
    nested, crossed = (one(compare(scores, SME, MARGIN, seeds=design)) for design in ("nested", "crossed"))
    assert (nested["verdict"], crossed["verdict"]) == ("no evidence", "helps")
    assert nested["difference"] == crossed["difference"]
    assert crossed["detectable"] < nested["detectable"]
