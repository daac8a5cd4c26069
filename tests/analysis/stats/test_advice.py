"""Plans in words: what they say is what the numbers say."""

import math
from dataclasses import replace

import pytest

from analysis.stats.advice import Plan, duration, plan, up
from analysis.stats.mrmc import Components
from analysis.stats.planning import Cost
from analysis.stats.power import detectable, equality_power
from analysis.stats.sample_size import seeds_needed, units_needed

PILOT = Components(seed=0.006**2, unit=0.05**2, arm_unit=0.01**2, error=0.02**2)
HIDDEN = Components(seed=0.006**2, unit=0.05**2, arm_unit=0.03**2, error=0.02**2)


def test_a_plan_says_what_is_found_and_what_would_find_less() -> None:
    start = "With 3 seeds an arm and 84 images, a difference of 0.025 or more is found 4 times in 5."
    assert plan(PILOT, 0.025, 3, 84) == start
    needed = seeds_needed(PILOT, 0.012, 84)
    assert plan(PILOT, -0.012, 3, 84) == f"{start} To find 0.012, {needed} seeds an arm would do."
    assert "With 3 seeds an arm and 84 wells" in plan(PILOT, 0.025, 3, 84, noun="wells")


def test_a_plan_says_where_no_number_of_seeds_helps() -> None:
    pilot = Components(0.001**2, 0.05**2, 0.02**2, 0.02**2)
    floor = detectable(pilot, math.inf, 30)
    said = plan(pilot, 0.005, 3, 30)
    assert "No number of seeds finds 0.005: 30 images alone" in said
    assert f"differences below {math.ceil(floor * 1000) / 1000:g}" in said
    assert f"With 10 seeds an arm, {units_needed(pilot, 0.005, 10)} images would do." in said
    assert "10000 images wouldn't do either" in plan(PILOT, 0.001, 3, 30)
    assert "more than 100 seeds an arm are needed" in plan(PILOT, 0.005, 3, 84)


def test_a_plan_of_one_seed_is_out_of_reach() -> None:
    said = plan(PILOT, 0.012, 1, 84)
    assert said.startswith("With one seed an arm significance is out of reach")
    assert said.endswith(f"To find 0.012, {seeds_needed(PILOT, 0.012, 84)} seeds an arm would do.")


def test_the_design_of_fewest_runs_is_named_first_with_its_cost() -> None:
    """20 of 100 images are tested on one split: folds find more with fewer runs, each a little longer."""
    pilot = replace(PILOT, arm_unit=0.015**2)
    (said,) = Plan(pilot, 20, 100, cost=Cost(seconds=60, tested=0.2)).on_finding(0.015)
    few, many = seeds_needed(pilot, 0.015, 100, folds=5), seeds_needed(pilot, 0.015, 20)
    assert few is not None
    assert many is not None
    assert 5 * few < many
    assert said == (
        f"To find a difference of 0.015 four times in five: 5 folds x {few} seed{'s' if few > 1 else ''} "
        f"({10 * few} runs of 2 arms, about {10 * few} min); one split x {many} seeds ({2 * many} runs of 2 arms, "
        f"about {2 * many} min) would do, too."
    )


def test_what_is_out_of_reach_is_said_with_the_images_it_takes() -> None:
    found, split = Plan(HIDDEN, 20, 100).on_finding(0.024)
    assert found.startswith("To find a difference of 0.024 four times in five: 5 folds x 2 seeds (20 runs of 2 arms).")
    floor = detectable(HIDDEN, math.inf, 20)
    assert "On one split, no number of seeds finds it: 20 images alone" in split
    assert f"hide differences below {up(floor)}." in split
    more = units_needed(HIDDEN, 0.024, 10)
    assert split.endswith(f"With one split x 10 seeds, {more} test images would do.")
    assert Plan(HIDDEN, 20, 100).on_finding(0.001)[0].startswith("No design that is planned here can find")
    assert Plan(HIDDEN, 20).designs == (1,)


def test_equality_is_planned_likewise() -> None:
    found, split = Plan(HIDDEN, 20, 100, folds=(5,)).on_equality(0.025)
    assert "5 folds x 2 seeds (20 runs of 2 arms)" in found
    assert equality_power(HIDDEN, 2, 100, 0.025, folds=5) >= 0.8 > equality_power(HIDDEN, 1, 100, 0.025, folds=5)
    more = int(split.rpartition("seeds, ")[2].split()[0])
    assert equality_power(HIDDEN, 10, more, 0.025) >= 0.8 > equality_power(HIDDEN, 10, more - 1, 0.025)


@pytest.mark.parametrize(
    ("hours", "told"),
    [(0.01, "about 36 s"), (0.05, "about 3 min"), (1.4, "about 84 min"), (3.33, "about 3.3 h"), (250, "about 250 h")],
)
def test_durations_have_two_digits(hours: float, told: str) -> None:
    assert duration(hours) == told


def test_advice_of_a_study_with_folds_is_of_seeds_in_each() -> None:
    said = plan(PILOT, 0.012, 1, 100, folds=5)
    assert said.startswith("With 1 seed an arm in each of 5 folds and 100 images, a difference of")
    needed = seeds_needed(PILOT, 0.012, 100, folds=5)
    assert said.endswith(f"To find 0.012, {needed} seeds an arm in each of 5 folds would do.")
