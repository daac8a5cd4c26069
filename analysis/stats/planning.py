"""Planning: which numbers of folds, seeds and images decide a comparison, what they cost, and what is out of reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.stats.design import Pilot
from analysis.stats.power import detectable, equality_power, expected_se, power
from analysis.stats.sample_size import fewest_seeds
from metaseg.schema import MARGIN

COLUMNS = ["folds", "seeds", "runs", "units", "se", "power", "detectable", "power_equal", "hours"]


@dataclass(frozen=True)
class Cost:
    """Measured cost of a run."""

    seconds: float
    """Mean training time of a run on one split."""
    tested: float = 0.0
    """Share of the images that are tested on one split: the more are tested, the fewer are trained on."""
    workers: int = 1
    device: str = "cpu"

    def hours(self, folds: int, runs: int) -> float:
        """Device-hours of so many runs; one of K folds trains on the other images, in proportion to their number."""
        longer = 1.0 if folds == 1 else (1 - 1 / folds) / (1 - self.tested)
        return runs * self.seconds * self.workers * longer / 3600


def plan_designs(
    components: Pilot,
    effect: float,
    tested: float,
    units: float | None = None,
    *,
    margin: float = MARGIN,
    folds: Sequence[int] = (5,),
    seeds: Sequence[int] = (1, 2, 3, 5, 10, 20),
    arms: int = 2,
    cost: Cost | None = None,
    crossed: bool = False,
) -> pd.DataFrame:
    """Compare designs by what they find: one split with several seeds an arm, and folds with several seeds in each.

    Args:
        components: variance components of a pilot, `Difference.components`; or a pair, the arm's and the reference's.
        effect: difference of the expected scores that is looked for.
        tested: images, or groups of them, that are tested on one split: 2 or more.
        units: all that there are, each of which is tested in one of the folds; None to plan one split alone.
        margin: equivalence margin.
        folds: numbers of folds.
        seeds: runs of each arm, in each fold; one seed is left out where that is no test.
        arms: of the study, for the number of runs.
        cost: of a run, for hours.
        crossed: whether runs of equal seed are pairs; the components are then those of a test of pairs.

    Returns:
        A row a design: folds (1 is one split), seeds of each arm and fold, runs of all arms, units that are tested, se
        of a difference, power to find `effect`, detectable (the difference found with probability 0.8), power_equal
        (the probability that equal arms are found to differ by less than the margin) and hours (NaN without `cost`).

    Raises:
        ValueError: fewer than two units, or than folds.

    Example:
        >>> from analysis import Components, plan_designs
        >>> pilot = Components(seed=0.006**2, unit=0.05**2, arm_unit=0.03**2, error=0.02**2)
        >>> plan_designs(pilot, 0.02, tested=20, units=100, seeds=(2, 10)).round(3)[["folds", "seeds", "runs", "power"]]
           folds  seeds  runs  power
        0      1      2     4  0.095
        1      1     10    20  0.479
        2      5      2    20  0.670
        3      5     10   100  0.836
    """
    rows = []
    for count in (1, *(folds if units else ())):
        size = float(units or 0) if count > 1 else tested
        for each in seeds:
            if each < fewest_seeds(count):
                continue
            runs, design = arms * count * each, (components, each, size)
            rows.append(
                {
                    "folds": count,
                    "seeds": each,
                    "runs": runs,
                    "units": size,
                    "se": float(expected_se(components, each, size, folds=count, crossed=crossed)),
                    "power": float(power(*design, effect, folds=count, crossed=crossed)),
                    "detectable": detectable(*design, folds=count, crossed=crossed),
                    "power_equal": float(equality_power(*design, margin, folds=count, crossed=crossed)),
                    "hours": cost.hours(count, runs) if cost else np.nan,
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)
