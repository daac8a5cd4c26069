"""Advice in words: which designs decide a comparison, what they take, and what is out of reach."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.stats.design import Pilot
from analysis.stats.planning import Cost
from analysis.stats.power import POWER, detectable, equality_power, power
from analysis.stats.sample_size import (
    MOST_SEEDS,
    MOST_UNITS,
    fewest_seeds,
    first,
    seeds_needed,
    units_needed,
)

MANY_SEEDS = 10
"""Seeds per arm, of all folds together, for which sentences tell the number of units needed."""


@dataclass(frozen=True)
class Plan:
    """Basis of a study's plan: the variances that a pilot found, and the designs to choose from."""

    components: Pilot
    tested: float
    """Units that are tested on one split."""
    units: float | None = None
    """All that there are, for folds."""
    folds: Sequence[int] = (5,)
    arms: int = 2
    cost: Cost | None = None
    noun: str = "images"
    """Name of the units."""
    crossed: bool = False

    @property
    def designs(self) -> tuple[int, ...]:
        """Numbers of folds to choose from; 1 is one split."""
        return (1, *(self.folds if self.units else ()))

    def size(self, folds: int) -> float:
        """Units that are tested."""
        return float(self.units or 0) if folds > 1 else self.tested

    def on_finding(self, effect: float) -> list[str]:
        """Sentences: what finds a difference four times in five, the design of fewest runs first; and what can't."""
        pilot, crossed = self.components, self.crossed
        needed = {
            folds: seeds_needed(pilot, effect, self.size(folds), folds=folds, crossed=crossed) for folds in self.designs
        }
        said = self._choice(f"find a difference of {effect:.2g}", needed)
        for folds in (folds for folds, seeds in needed.items() if seeds is None):
            size, seeds = self.size(folds), max(round(MANY_SEEDS / folds), 2)
            if float(power(pilot, math.inf, size, effect, folds=folds, crossed=crossed)) >= POWER:
                said.append(f"{_where(folds)}, more than {MOST_SEEDS} seeds an arm are needed.")
                continue
            floor = detectable(pilot, math.inf, size, folds=folds, crossed=crossed)
            more = units_needed(pilot, effect, seeds, folds=folds, crossed=crossed)
            said.append(
                f"{_where(folds)}, no number of seeds finds it: {size:.0f} {self.noun} alone, on which arms differ by "
                f"chance, hide differences below {up(floor)}. {self._more(more, folds, seeds)}"
            )
        return said

    def on_equality(self, margin: float) -> list[str]:
        """Sentences: what shows equal arms to differ by less than the margin four times in five; and what can't."""

        def chance(seeds: int, units: float, folds: int) -> float:
            return float(equality_power(self.components, seeds, units, margin, folds=folds, crossed=self.crossed))

        def needed_seeds(folds: int) -> int | None:
            size = self.size(folds)
            return first(fewest_seeds(folds), MOST_SEEDS, lambda seeds: chance(seeds, size, folds) >= POWER)

        def needed_units(folds: int, seeds: int) -> int | None:
            return first(2 * folds, MOST_UNITS, lambda units: chance(seeds, units, folds) >= POWER)

        needed = {folds: needed_seeds(folds) for folds in self.designs}
        said = self._choice(f"show that equal arms differ by less than {margin:.2g}", needed)
        for folds in (folds for folds, seeds in needed.items() if seeds is None):
            seeds = max(round(MANY_SEEDS / folds), 2)
            more = needed_units(folds, seeds)
            said.append(
                f"{_where(folds)}, {MOST_SEEDS} seeds an arm don't: {self.size(folds):.0f} {self.noun} are too few. "
                f"{self._more(more, folds, seeds)}"
            )
        return said

    def _choice(self, aim: str, needed: dict[int, int | None]) -> list[str]:
        runs = {folds: folds * seeds * self.arms for folds, seeds in needed.items() if seeds is not None}
        if not runs:
            return [f"No design that is planned here can {aim} four times in five."]
        told = []
        for folds in sorted(runs, key=lambda folds: runs[folds]):
            hours = f", {duration(self.cost.hours(folds, runs[folds]))}" if self.cost else ""
            told.append(f"{design(folds, needed[folds] or 0)} ({runs[folds]} runs of {self.arms} arms{hours})")
        rest = f"; {' or '.join(told[1:])} would do, too" if told[1:] else ""
        return [f"To {aim} four times in five: {told[0]}{rest}."]

    def _more(self, units: int | None, folds: int, seeds: int) -> str:
        where, noun = f"With {design(folds, seeds)}", self.noun if folds > 1 else f"test {self.noun}"
        if units is None:
            return f"{where}, {MOST_UNITS} {noun} wouldn't do either."
        return f"{where}, {units} {noun} would do."


def _where(folds: int) -> str:
    return "On one split" if folds == 1 else f"In {folds} folds"


def design(folds: int, seeds: int) -> str:
    """Name of a design: `5 folds x 2 seeds`, `one split x 18 seeds`."""
    return f"{'one split' if folds == 1 else f'{folds} folds'} x {seeds} seed{'s' if seeds > 1 else ''}"


def duration(hours: float) -> str:
    """Hours, or minutes or seconds where they are few, to two digits."""
    for unit, size in (("h", 1.0), ("min", 1 / 60)):
        if hours >= 1.5 * size:
            return f"about {float(f'{hours / size:.2g}'):g} {unit}"
    return f"about {float(f'{3600 * hours:.2g}'):g} s"


def plan(
    components: Pilot,
    effect: float,
    seeds: int,
    units: float,
    noun: str = "images",
    *,
    folds: int = 1,
    crossed: bool = False,
) -> str:
    """Sentences on the differences that a design can detect, and on the seeds and units needed to detect `effect`.

    Args:
        components: of a pilot; or a pair of them.
        effect: the difference that is looked for, in units of the score; its sign doesn't matter.
        seeds: an arm, in each fold; one is allowed here.
        units: 2 or more, and one in each fold.
        noun: what units are called.
        folds: in which units are tested.
        crossed: whether runs of equal seed are pairs.
    """
    effect, each = abs(effect), f" in each of {folds} folds" if folds > 1 else ""
    if seeds < fewest_seeds(folds):
        sentences = [
            f"With one seed an arm significance is out of reach: no number of {noun} tells a difference between arms "
            "from one between seeds."
        ]
    else:
        least = detectable(components, seeds, units, folds=folds, crossed=crossed)
        sentences = [
            f"With {seeds} seed{'s' if seeds > 1 else ''} an arm{each} and {units:.0f} {noun}, a difference of "
            f"{up(least)} or more is found 4 times in 5."
        ]
        if least <= effect:
            return sentences[0]
    needed = seeds_needed(components, effect, units, folds=folds, crossed=crossed)
    if needed is not None:
        return " ".join([*sentences, f"To find {effect:.2g}, {needed} seeds an arm{each} would do."])
    if power(components, math.inf, units, effect, folds=folds, crossed=crossed) >= POWER:
        sentences.append(f"To find {effect:.2g}, more than {MOST_SEEDS} seeds an arm{each} are needed.")
    else:
        floor = detectable(components, math.inf, units, folds=folds, crossed=crossed)
        sentences.append(
            f"No number of seeds finds {effect:.2g}: {units:.0f} {noun} alone, on which arms differ by chance, hide "
            f"differences below {up(floor)}."
        )
    many = max(round(MANY_SEEDS / folds), 2)
    more = units_needed(components, effect, many, folds=folds, crossed=crossed)
    sentences.append(
        f"With {many} seeds an arm{each}, {more} {noun} would do."
        if more is not None
        else f"With {many} seeds an arm{each}, {MOST_UNITS} {noun} wouldn't do either."
    )
    return " ".join(sentences)


def up(value: float) -> str:
    """Two significant digits, rounded up, so that what is said of larger values holds."""
    if value <= 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / step - 1e-9) * step:.2g}"
