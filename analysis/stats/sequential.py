"""Seeds until decided: what is found at each look of a study, and which comparisons go on.

At a look all open comparisons have equally many seeds, more than at the one before. The estimate's variance
(`analysis.stats.mrmc`) has a part of the images, which are the same at all looks, and a part of the seeds, which falls
as 1 / seeds: the increments of the estimate are independent in information 1 / V, so that group-sequential boundaries
hold (`analysis.stats.group_sequential`). p of the t test, with the degrees of freedom of the look, is compared with the
look's nominal level.

- Information of a look: V at the last look, by the variances of this look, divided by V now. It tells how looks are
  correlated. What they may spend is declared beforehand instead (`Rule.fractions`): if estimated variances told, more
  would be spent just where they are too low, and false positives were up to 7 % instead of 5 to 6.
- Several comparisons: Holm's method on sequential p-values (Liu & Anderson 2008). As all comparisons spend their level
  in the same way, that is the closed test that passes the level of what is found on to what is open (Maurer & Bretz
  2013, Stat Biopharm Res 5:311); a comparison may be found by an earlier look then.
- Equivalence: two one-sided tests at each look, each side's level spent in the same way; a family of its own.
- Intervals: repeated confidence intervals (Jennison & Turnbull 1989, J R Stat Soc B 51:305), which hold at all looks
  together; what the intervals of all looks so far share, at the level of the corrected test.
- Futile: the chance that the last look decides, given this one and no other knowledge, is below the declared limit.
  Stopping for it spends nothing, and going on regardless is allowed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import Literal

import numpy as np
from scipy import stats

from analysis.results.declaration import Comparison
from analysis.results.looks import Look, Rule, Seen
from analysis.scores.score_matrix import ScoreMatrix
from analysis.stats.comparisons import FEWEST_UNITS
from analysis.stats.equivalence import equivalence
from analysis.stats.group_sequential import Floats, chance_to_decide, nominal_levels, sequential_p
from analysis.stats.mrmc import difference
from analysis.stats.multiple_testing import holm, holm_levels
from analysis.stats.sample_size import units_needed
from metaseg.schema import Seeds

Verdict = Literal["helps", "hurts", "equal", "futile", "too few", "no evidence"]
"""Outcome of a comparison; `no evidence` where it is open, or wasn't decided by the last look."""


SHOWN: tuple[Verdict, ...] = ("helps", "hurts", "equal")
"""Decisions that stay. Others may still be changed by a level that is passed on."""


@dataclass(frozen=True)
class Standing:
    """State of a comparison after the looks so far."""

    arm: str
    reference: str
    verdict: Verdict
    open: bool
    """True if it needs the next look."""
    looks: int
    """Number of looks that it was in."""
    seeds: int
    """Runs of each arm at its last one; 0 before the first."""
    last: Seen | None
    """Results at its last look."""
    p: float
    """Sequential p-value of a difference; NaN, as all below, where there was no test."""
    p_adjusted: float
    """Corrected by Holm's method for the declared comparisons."""
    p_equivalence: float
    p_equivalence_adjusted: float
    interval: tuple[float, float]
    """Repeated 95 % confidence interval, of this comparison alone."""
    adjusted: tuple[float, float]
    """At the level of the corrected test: excludes 0 where p_adjusted is below alpha, and only there."""
    by_images: bool
    """True if it is futile because of the images: more seeds than the most wouldn't decide it either."""

    @property
    def name(self) -> str:
        """The comparison in words."""
        return f"{self.arm} against {self.reference}"


def take_look(
    matrix: ScoreMatrix,
    rule: Rule,
    comparisons: Sequence[Comparison],
    margin: float,
    past: Sequence[Look],
    seeds: int,
    design: Seeds = "nested",
) -> Look:
    """Test the open comparisons on runs of which each of their arms has as many.

    Args:
        matrix: scores on all images of the class that is concluded on, of seeds up to this look.
        rule: as declared.
        comparisons: that are open.
        margin: of equivalence.
        past: looks before.
        seeds: of each arm at this one.
        design: of the seeds.

    Raises:
        ValueError: an arm has another number of seeds.

    Example:
        >>> from analysis import Comparison, example_scores, score_matrices
        >>> matrix = next(matrix for _, _, matrix in score_matrices(example_scores(seeds=3)))
        >>> rule, pair = Rule((3, 5, 8, 12, 20)), Comparison("sme", "baseline")
        >>> look = take_look(matrix, rule, [pair], 0.01, [], 3)
        >>> round(look.tests[0].estimate, 3), round(look.tests[0].fraction, 2)
        (0.022, 0.42)
        >>> standing = standings([look], rule, [pair])[0]
        >>> standing.verdict, standing.open, round(float(standing.p), 3)
        ('no evidence', True, 0.112)
    """
    return Look(seeds, tuple(_test(matrix, rule, each, margin, past, seeds, design) for each in comparisons))


def _test(
    matrix: ScoreMatrix,
    rule: Rule,
    comparison: Comparison,
    margin: float,
    past: Sequence[Look],
    seeds: int,
    design: Seeds,
) -> Seen:
    arm, reference = comparison.arm, comparison.reference
    found = difference(matrix, arm, reference, design)
    if found.seeds != (seeds, seeds):
        raise ValueError(f"{arm} has {found.seeds[0]} seeds and {reference} {found.seeds[1]}; expected {seeds} of each")
    if isnan(found.se) or matrix.effective.min() * matrix.common(arm, reference) < FEWEST_UNITS:
        return Seen(arm, reference, found.estimate, *[None] * 9)
    by_seeds, cases, most = sum(found.seed_variances), found.case_variance, rule.looks[-1]
    now, then = by_seeds + cases, by_seeds * seeds / most + cases
    before = [test.fraction or 0.0 for look in past if (test := look.of(arm, reference))]
    fraction = 1.0 if seeds >= most or not now else min(max([then / now, *before]), 1.0)
    chance, many = (chance_to_decide(found.estimate, now, later, margin, rule.alpha) for later in (then, cases))
    parts = found.components
    needed = None
    if parts and many < rule.futility:
        needed = units_needed(parts, margin, most, folds=found.folds, crossed=design == "crossed")
    return Seen(
        arm, reference, found.estimate, found.se, found.df, found.p, equivalence(found, margin).p, by_seeds, cases,
        fraction, chance, many, needed,
    )  # fmt: skip


def standings(looks: Sequence[Look], rule: Rule, comparisons: Sequence[Comparison]) -> list[Standing]:
    """Compute the state of each declared comparison after the looks so far.

    Args:
        looks: in their order; may be none.
        rule: as declared.
        comparisons: all that were declared, which are one family.
    """
    found = _standings(looks, rule, comparisons)
    for at, each in enumerate(found):
        if max(each.p_adjusted, each.p_equivalence_adjusted) < rule.alpha:  # both: what was shown first stays
            before = (_standings(looks[:count], rule, comparisons)[at].verdict for count in range(1, len(looks)))
            found[at] = replace(each, verdict=next((one for one in before if one in SHOWN), each.verdict))
    return found


def _standings(looks: Sequence[Look], rule: Rule, comparisons: Sequence[Comparison]) -> list[Standing]:
    """The same by levels as they are after the last look, which Holm's method may have passed on since a decision."""
    series = [_Series.of(looks, rule, comparison) for comparison in comparisons]
    p, equal = (np.array([each.sequential(kind) for each in series]) for kind in ("p", "equal"))
    adjusted, adjusted_equal, levels = holm(p), holm(equal), holm_levels(p, rule.alpha)
    return [
        _standing(comparison, each, looks, rule, (p[at], adjusted[at], equal[at], adjusted_equal[at]), levels[at])
        for at, (comparison, each) in enumerate(zip(comparisons, series, strict=True))
    ]


@dataclass(frozen=True)
class Sighting:
    """A comparison at one look, by the level of this comparison alone."""

    seeds: int
    estimate: float
    level: float
    """Two-sided p-value that shows a difference at this look."""
    boundary: float
    """The difference that has this p-value."""
    interval: tuple[float, float]
    """Repeated 95 % confidence interval of this look."""


def sightings(
    looks: Sequence[Look], rule: Rule, comparisons: Sequence[Comparison]
) -> list[tuple[str, tuple[Sighting, ...]]]:
    """Name and looks of each comparison; no looks where there was no test."""
    found = []
    for comparison in comparisons:
        series, seen = _Series.of(looks, rule, comparison), []
        if series.tested:
            levels = series.levels(rule.alpha)
            halves = stats.t.isf(levels / 2, series.values("df")) * series.values("se")
            each = zip(series.seeds, series.values("estimate"), levels, halves, strict=True)
            seen = [Sighting(seeds, at, level, half, (at - half, at + half)) for seeds, at, level, half in each]
        found.append((f"{comparison.arm} against {comparison.reference}", tuple(seen)))
    return found


@dataclass(frozen=True)
class _Series:
    """A comparison's looks so far, as arrays; without those that had no test."""

    tests: tuple[Seen, ...]
    seeds: tuple[int, ...]
    fractions: Floats
    """`(looks,)` by which the level is spent."""

    @classmethod
    def of(cls, looks: Sequence[Look], rule: Rule, comparison: Comparison) -> "_Series":
        found = [(test, look.seeds) for look in looks if (test := look.of(comparison.arm, comparison.reference))]
        return cls(
            tuple(test for test, _ in found), tuple(seeds for _, seeds in found), np.array(rule.fractions[: len(found)])
        )

    @property
    def tested(self) -> bool:
        return bool(self.tests) and all(test.p is not None for test in self.tests)

    def values(self, name: str) -> Floats:
        return np.array([getattr(test, name) for test in self.tests], np.float64)

    def sequential(self, kind: Literal["p", "equal"]) -> float:
        if not self.tested:
            return float("nan")
        if kind == "p":
            return sequential_p(self.fractions, self.values("p"), self.values("fraction"))
        # On one side, a symmetric boundary has half its level.
        twice = np.minimum(2 * self.values("p_equivalence"), 1.0)
        found = sequential_p(self.fractions, twice, self.values("fraction"))
        return found / 2 if found < 1 else 1.0

    def levels(self, level: float) -> Floats:
        """Nominal levels of its looks."""
        return nominal_levels(self.fractions, level, self.values("fraction"))

    def found_at(self, level: float) -> int | None:
        """Place of the first look that finds a difference at a level."""
        found = self.values("p") <= self.levels(level)
        return int(np.argmax(found)) if found.any() else None

    def interval(self, level: float) -> tuple[float, float]:
        """Intersection of the looks' repeated confidence intervals; the last one where it is empty."""
        nan = float("nan")
        if not self.tested or isnan(level):
            return nan, nan
        half = stats.t.isf(self.levels(level) / 2, self.values("df")) * self.values("se")
        low, high = self.values("estimate") - half, self.values("estimate") + half
        if low.max() > high.min():
            return float(low[-1]), float(high[-1])
        return float(low.max()), float(high.min())


def _standing(
    comparison: Comparison,
    series: _Series,
    looks: Sequence[Look],
    rule: Rule,
    p: tuple[float, float, float, float],
    level: float,
) -> Standing:
    last = series.tests[-1] if series.tests else None
    seeds = series.seeds[-1] if series.seeds else 0
    verdict: Verdict = "no evidence"
    open_ = seeds < rule.looks[-1] and (not looks or seeds == looks[-1].seeds)
    if last is not None and not series.tested:
        verdict, open_ = "too few", False
    elif last is not None:
        differs, equal = p[1] < rule.alpha, p[3] < rule.alpha
        if equal and (comparison.claim == "equal" or not differs):
            verdict, open_ = "equal", False
        elif differs:
            at = series.found_at(level)
            sign = series.values("estimate")[-1 if at is None else at]
            verdict, open_ = "helps" if sign > 0 else "hurts", False
        elif seeds < rule.looks[-1] and (not open_ or (last.chance or 0.0) < rule.futility):
            verdict, open_ = "futile", False
    by_images = verdict == "futile" and last is not None and (last.chance_many or 0.0) < rule.futility
    return Standing(
        comparison.arm, comparison.reference, verdict, open_, len(series.tests), seeds, last, *p,
        series.interval(rule.alpha), series.interval(level), by_images,
    )  # fmt: skip
