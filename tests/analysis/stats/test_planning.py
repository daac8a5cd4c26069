"""Designs side by side: each is what the power functions say of it."""

import pytest

from analysis.stats.mrmc import Components
from analysis.stats.planning import COLUMNS, Cost, plan_designs
from analysis.stats.power import detectable, equality_power, power

PILOT = Components(seed=0.006**2, unit=0.05**2, arm_unit=0.03**2, error=0.02**2)


def test_the_table_has_a_row_a_design_that_is_a_test() -> None:
    table = plan_designs(PILOT, 0.02, 20, 100, margin=0.02, seeds=(1, 2, 10), arms=3, cost=Cost(120, 0.2))
    assert list(table) == COLUMNS
    assert list(zip(table["folds"], table["seeds"], strict=True)) == [(1, 2), (1, 10), (5, 1), (5, 2), (5, 10)]
    assert table["runs"].tolist() == [6, 30, 15, 30, 150]
    assert table["units"].tolist() == [20, 20, 100, 100, 100]
    assert table["hours"].tolist() == pytest.approx([6 / 30, 1, 15 / 30, 1, 5]), "a fifth is tested in both designs"
    row = table.iloc[3]
    assert row["power"] == power(PILOT, 2, 100, 0.02, folds=5)
    assert row["detectable"] == detectable(PILOT, 2, 100, folds=5)
    assert row["power_equal"] == equality_power(PILOT, 2, 100, 0.02, folds=5)
    assert row["power"] > 0.65 > 0.5 > table["power"].iloc[1], "with as many runs on one split"


def test_without_all_images_there_are_no_folds_and_without_a_cost_no_hours() -> None:
    table = plan_designs(PILOT, 0.02, 20, folds=(5, 10))
    assert set(table["folds"]) == {1}
    assert table["hours"].isna().all()


def test_folds_that_train_on_more_images_take_longer() -> None:
    assert Cost(3600, 0.5).hours(1, 4) == 4
    assert Cost(3600, 0.5).hours(5, 4) == pytest.approx(4 * 0.8 / 0.5)
    assert Cost(3600, 0.2, workers=2).hours(5, 4) == pytest.approx(8)


def test_too_few_images_for_the_folds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"units: 4; expected 5 or more"):
        plan_designs(PILOT, 0.02, 2, 4)
