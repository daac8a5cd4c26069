"""Looks of a study: what is decided, what goes on, and that looking costs no false findings."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.results.declaration import Comparison
from analysis.results.looks import Look, Rule, Seen
from analysis.scores.example import example_scores
from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.group_sequential import nominal_levels
from analysis.stats.mrmc import difference
from analysis.stats.replay import replay
from analysis.stats.sequential import standings, take_look

RULE = Rule((3, 5, 8))
PAIR = Comparison("sme", "baseline")
OTHER = Comparison("film", "baseline")


def seen(pair: Comparison, p: float, estimate: float = 0.02, **values: float) -> Seen:
    """Results of a look with much information that has no reason to stop."""
    about = {"se": 0.01, "df": 30.0, "p_equivalence": 0.5, "seed_variance": 5e-5, "case_variance": 5e-5}
    about |= {"fraction": 0.7, "chance": 0.6, "chance_many": 0.6}
    return Seen(pair.arm, pair.reference, estimate, p=p, **{**about, **values})


def matrix(
    rng: np.random.Generator, seeds: int, sds: tuple[float, float], case: float, gain: float = 0.0
) -> ScoreMatrix:
    """Two arms on 40 images."""
    arm = np.repeat([0, 1], seeds)
    values = rng.normal(0, case, (2, 40))[arm] + rng.normal(0, 0.02, (2 * seeds, 40))
    values += rng.standard_normal((2 * seeds, 1)) * np.repeat(sds, seeds)[:, None] + gain * arm[:, None]
    names = tuple(f"image{number}" for number in range(40))
    return ScoreMatrix(("baseline", "sme"), arm, np.tile(np.arange(seeds), 2), 0.8 + values, names, 40)


def first_seeds(whole: ScoreMatrix, seeds: int) -> ScoreMatrix:
    rows = whole.seed < seeds
    return replace(whole, arm=whole.arm[rows], seed=whole.seed[rows], values=whole.values[rows])


def course(whole: ScoreMatrix, rule: Rule, margin: float = 0.01) -> list[Look]:
    """All looks, whatever they decide."""
    looks: list[Look] = []
    for seeds in rule.looks:
        looks.append(take_look(first_seeds(whole, seeds), rule, [PAIR], margin, looks, seeds))
    return looks


def test_a_look_sees_what_the_test_of_its_seeds_sees():
    """Estimate, p and parts of the variance are those of the fixed design; the last look has all information."""
    whole = matrix(np.random.default_rng(0), 8, (0.006, 0.006), 0.02)
    looks = course(whole, RULE)
    for look in looks:
        found, test = difference(first_seeds(whole, look.seeds), "sme", "baseline"), look.tests[0]
        assert (test.estimate, test.se, test.p) == (found.estimate, found.se, found.p)
        assert test.seed_variance + test.case_variance == pytest.approx(found.se**2)
    fractions = [look.tests[0].fraction for look in looks]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    parts = looks[0].tests[0]
    expected = (parts.seed_variance * 3 / 8 + parts.case_variance) / (parts.seed_variance + parts.case_variance)
    assert fractions[0] == pytest.approx(expected)


def test_information_never_falls_however_variances_are_estimated():
    whole = matrix(np.random.default_rng(3), 8, (0.02, 0.02), 0.0)
    past = [Look(3, (seen(PAIR, 0.5, fraction=0.95),))]
    later = take_look(first_seeds(whole, 5), RULE, [PAIR], 0.01, past, 5)
    assert take_look(first_seeds(whole, 5), RULE, [PAIR], 0.01, [], 5).tests[0].fraction < 0.95
    assert later.tests[0].fraction == 0.95
    assert standings([*past, later], RULE, [PAIR])[0].looks == 2


def test_images_that_arms_share_carry_most_of_the_information_from_the_start():
    """A look's information is in proportion to its seeds where only seeds vary, and whole where only images do."""
    for sds, case, least, most in (((0.02, 0.02), 0.0, 0.3, 0.5), ((1e-5, 1e-5), 0.05, 0.9, 1.0)):
        look = course(matrix(np.random.default_rng(1), 8, sds, case), RULE)[0]
        assert least < look.tests[0].fraction <= most


def test_a_clear_difference_is_decided_at_the_first_look_and_nothing_more_is_asked():
    """A study takes three eighths of the runs of a fixed design."""
    rows = example_scores(gain=0.05, seeds=8)
    looks = replay(rows, RULE, [PAIR], 0.01)
    assert [look.seeds for look in looks] == [3]
    standing = standings(looks, RULE, [PAIR])[0]
    assert (standing.verdict, standing.open, standing.seeds) == ("helps", False, 3)
    assert standing.adjusted[0] > 0


def test_arms_that_are_equal_are_found_equal():
    """By two one-sided tests with the level shared out to looks."""
    looks = replay(example_scores(gain=0.0, seeds=8, images=200), RULE, [PAIR], 0.02)
    standing = standings(looks, RULE, [PAIR])[0]
    assert (standing.verdict, standing.open) == ("equal", False)
    assert standing.p_equivalence_adjusted < 0.05


def test_a_comparison_is_futile_where_images_alone_hide_the_margin_and_how_many_would_do_is_told():
    """No number of seeds decides it; more images would."""
    whole = matrix(np.random.default_rng(2), 3, (0.002, 0.002), 0.1)
    look = take_look(whole, RULE, [PAIR], 0.01, [], 3)
    standing = standings([look], RULE, [PAIR])[0]
    assert (standing.verdict, standing.open, standing.by_images) == ("futile", False, True)
    needed = look.tests[0].images_needed
    assert needed is not None
    assert 300 < needed < 5000  # 2 x 0.1² / n has to be about (0.01 / 2.8)²


def test_the_chance_to_be_decided_is_what_simulation_gives():
    """Over true differences that are as likely as any, given what this look saw: the remaining looks' last."""
    whole = matrix(np.random.default_rng(3), 3, (0.01, 0.01), 0.01, gain=0.006)
    test = take_look(whole, RULE, [PAIR], 0.01, [], 3).tests[0]
    now, then = test.seed_variance + test.case_variance, test.seed_variance * 3 / 8 + test.case_variance
    rng = np.random.default_rng(4)
    truth = test.estimate + np.sqrt(now) * rng.standard_normal(400_000)
    # The last estimate is this one's share and that of seeds to come, which know the truth.
    last = truth + then / now * (test.estimate - truth)
    last += np.sqrt(then - then**2 / now) * rng.standard_normal(400_000)
    decided = (np.abs(last) > 1.959964 * np.sqrt(then)) | (np.abs(last) < 0.01 - 1.644854 * np.sqrt(then))
    assert test.chance == pytest.approx(decided.mean(), abs=0.005)


def test_what_is_decided_stays_decided_and_gets_no_further_looks():
    """An open comparison goes on alone, with the same numbers for the other."""
    looks = [
        Look(3, (seen(PAIR, 1e-6), seen(OTHER, 0.4))),
        Look(5, (seen(OTHER, 0.3),)),
    ]
    before, after = standings(looks[:1], RULE, [PAIR, OTHER]), standings(looks, RULE, [PAIR, OTHER])
    assert [each.open for each in before] == [False, True]
    assert [(each.verdict, each.seeds) for each in after] == [("helps", 3), ("no evidence", 5)]
    assert before[0] == after[0]


def test_a_level_that_is_free_passes_on_to_what_is_open():
    """A comparison that is found only at the whole level is decided once the other one has been found."""
    levels = [nominal_levels(np.array(RULE.fractions[:1]), alpha)[0] for alpha in (0.025, 0.05)]
    between = float(np.mean(levels))
    alone = standings([Look(3, (seen(PAIR, between), seen(OTHER, 0.5)))], RULE, [PAIR, OTHER])
    assert [each.verdict for each in alone] == ["no evidence", "no evidence"]
    both = standings([Look(3, (seen(PAIR, between), seen(OTHER, 1e-9)))], RULE, [PAIR, OTHER])
    assert [each.verdict for each in both] == ["helps", "helps"]


def test_what_was_shown_first_stays_where_a_level_that_is_free_shows_the_other():
    """Equal at the first look, and different by the whole level, which the other comparison passes on at the second."""
    levels = [nominal_levels(np.array(RULE.fractions[:1]), alpha)[0] for alpha in (0.025, 0.05)]
    first = Look(3, (seen(PAIR, float(np.mean(levels)), p_equivalence=1e-9), seen(OTHER, 0.5)))
    looks = [first, Look(5, (seen(OTHER, 1e-9, fraction=0.8),))]
    for part in (looks[:1], looks):
        found = standings(part, RULE, [PAIR, OTHER])[0]
        assert (found.verdict, found.open, found.seeds) == ("equal", False, 3)
    assert found.p_adjusted < RULE.alpha
    without = replace(first, tests=(seen(PAIR, float(np.mean(levels)), chance=0.01), seen(OTHER, 0.5)))
    assert standings([without], RULE, [PAIR, OTHER])[0].verdict == "futile"  # which shows nothing, and may change
    assert standings([without, looks[1]], RULE, [PAIR, OTHER])[0].verdict == "helps"


def test_after_the_last_look_nothing_is_open():
    """Comparisons that weren't decided are no evidence."""
    looks = [Look(seeds, (seen(PAIR, 0.3, fraction=share),)) for seeds, share in ((3, 0.5), (5, 0.7), (8, 1.0))]
    standing = standings(looks, RULE, [PAIR])[0]
    assert (standing.verdict, standing.open) == ("no evidence", False)
    assert standing.p > 0.3


def test_the_interval_excludes_nothing_exactly_where_the_difference_is_found():
    """At the level of the corrected test, over many courses."""
    rng, found = np.random.default_rng(5), 0
    for _ in range(15):
        looks = course(matrix(rng, 8, (0.004, 0.004), 0.01, gain=0.006), RULE)
        standing = standings(looks, RULE, [PAIR])[0]
        low, high = standing.adjusted
        assert (low > 0 or high < 0) == (standing.p_adjusted < RULE.alpha)
        found += standing.p_adjusted < RULE.alpha
    assert 0 < found < 15


def test_a_look_needs_all_of_its_runs():
    """Looks end before the first one that lacks a run."""
    rows = example_scores(gain=0.004, seeds=5, images=40)
    whole = replay(rows, RULE, [PAIR], 0.001)
    assert [look.seeds for look in whole] == [3, 5]
    lacking = rows[(rows["arm"] != "sme") | (rows["seed"] != 4)]
    assert replay(lacking, RULE, [PAIR], 0.001) == whole[:1]
    assert replay(rows, RULE, [PAIR], 0.001, past=whole[:1]) == whole
    with pytest.raises(ValueError, match="expected 8 of each"):
        take_look(matrix(np.random.default_rng(0), 5, (0.01, 0.01), 0.01), RULE, [PAIR], 0.01, [], 8)


def test_too_few_images_for_a_test_are_too_few_for_a_look():
    """Nothing is decided, and no seed would help."""
    looks = replay(example_scores(seeds=3, images=4), RULE, [PAIR], 0.01)
    standing = standings(looks, RULE, [PAIR])[0]
    assert (standing.verdict, standing.open) == ("too few", False)
    assert np.isnan(standing.p_adjusted)


@pytest.mark.slow
@pytest.mark.parametrize("sds", [(0.006, 0.006), (0.003, 0.012)])
@pytest.mark.parametrize("case", [0.0, 0.02])
def test_looking_five_times_finds_differences_between_equal_arms_in_five_percent(sds, case):
    """By draws of scores; looking at p < 0.05 each time finds them two to three times as often."""
    rule, rng, draws = Rule((3, 5, 8, 12, 20)), np.random.default_rng(6), 600
    found, peeking = 0, 0
    for _ in range(draws):
        looks = course(matrix(rng, 20, sds, case), rule)
        found += standings(looks, rule, [PAIR])[0].p_adjusted < 0.05
        peeking += any(look.tests[0].p < 0.05 for look in looks)
    assert found / draws < 0.06 + 3 * np.sqrt(0.06 / draws)
    assert peeking / draws > 0.08
